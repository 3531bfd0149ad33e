(ns org.httpkit.timer
  "Delayed tasks, all on one thread that must not be blocked."
  (:require
   [org.httpkit.requirements])
  (:import
   [org.httpkit.timer CancelableFutureTask TimerService]))

(defmacro schedule-task
  "Evaluates `body` once, `ms` msecs from now (immediately if `ms` <= 0), on the
  timer's thread. Exceptions are printed to standard error.

  Returns a task for `cancel`. Throws if `ms` is no number that fits an int:
  ArithmeticException, IllegalArgumentException (not even a long),
  ClassCastException or NullPointerException.

    (schedule-task 1000 (println \"a second later\"))"
  [ms & body]
  `(.scheduleTask TimerService/SERVICE
     (Math/toIntExact (long ~ms))
     (^{:once true} fn* [] ~@body)))

(defn cancel
  "Cancels a scheduled task. Returns true iff it had neither started nor already
  been cancelled.

    (cancel (schedule-task 1000 (println \"never printed\"))) ; => true"
  [^CancelableFutureTask task]
  (.cancel task))

(defmacro with-timeout
  "Evaluates `body` with the function named by the symbol `f` limited to one
  call within `ms` msecs:

    - The first call in time calls the original, with any arguments.
    - If there is none in time, `timeout-form` is evaluated on the timer's thread.
    - Later calls return nil and do nothing.

    (with-timeout callback 1000 (callback :timed-out)
      (future (callback (slow-work))))"
  [f ms timeout-form & body]
  `(let [f#    ~f
         task# (schedule-task ~ms ~timeout-form)
         ~f    (fn [& args#]
                 (when (cancel task#)
                   (apply f# args#)))]
     ~@body))
