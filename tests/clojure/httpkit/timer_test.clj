(ns httpkit.timer-test
  "`org.httpkit.timer` and the service below it."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing are]]
            [httpkit.wire :as wire]
            [org.httpkit.timer :as timer])
  (:import [java.io ByteArrayOutputStream PrintStream]
           [java.util.concurrent CountDownLatch]
           [org.httpkit PriorityQueue]
           [org.httpkit.timer CancelableFutureTask TimerService]))

(def ^:private never 600000)

(defn- await! [p] (deref p 10000 ::timeout))

(defn- settle!
  "Waits until everything due before now has run."
  []
  (let [p (promise)]
    (timer/schedule-task 0 (deliver p true))
    (is (true? (await! p)))))

(deftest tasks-run-once-and-not-early
  (let [p     (promise)
        n     (atom 0)
        start (System/nanoTime)
        task  (timer/schedule-task 40 (swap! n inc) (deliver p (- (System/nanoTime) start)))]
    (is (instance? CancelableFutureTask task))
    (is (<= 40e6 (await! p)))
    (settle!)
    (is (= 1 @n))))

(deftest zero-and-negative-mean-at-once
  (doseq [ms [0 -5 Integer/MIN_VALUE]
          :let [p (promise)]]
    (timer/schedule-task ms (deliver p :ran))
    (is (= :ran (await! p)) (str ms))))

(deftest tasks-run-ordered-by-time-then-age
  (let [log  (atom [])
        done (promise)
        ;; Held back, so that all are scheduled before the first can run.
        gate (promise)]
    (timer/schedule-task 0 (await! gate))
    (timer/schedule-task 90 (swap! log conj :late) (deliver done true))
    (timer/schedule-task 30 (swap! log conj :early))
    (dotimes [i 5] (timer/schedule-task -100000 (swap! log conj i)))
    (deliver gate true)
    (is (true? (await! done)))
    (is (= [0 1 2 3 4 :early :late] @log))))

(deftest an-earlier-task-overtakes-one-that-is-waited-for
  (let [late (timer/schedule-task never nil)
        p    (promise)]
    (timer/schedule-task 20 (deliver p :ran))
    (is (= :ran (await! p)))
    (is (timer/cancel late))))

(deftest delays-are-ints
  (are [ms] (thrown? ArithmeticException (timer/schedule-task ms nil))
    3000000000, -3000000000)
  (is (thrown? NullPointerException (timer/schedule-task (identity nil) nil)))
  (is (true? (timer/cancel (timer/schedule-task Integer/MAX_VALUE nil))))
  (is (true? (timer/cancel (timer/schedule-task (double never) nil)))))

(deftest bodies-run-on-one-thread
  (let [ps (repeatedly 50 promise)]
    (doall (pmap #(timer/schedule-task (rand-int 20) (deliver % (Thread/currentThread))) ps))
    (let [threads (set (map await! ps))]
      (is (= 1 (count threads)))
      (is (= "timer-service" (.getName ^Thread (first threads)))))))

(deftest cancel-is-true-once-only
  (let [ran  (atom false)
        task (timer/schedule-task 50 (reset! ran true))]
    (is (= [true false false] (repeatedly 3 #(timer/cancel task))))
    (let [p (promise)]
      (timer/schedule-task 60 (deliver p true))
      (await! p))
    (is (false? @ran))))

(deftest cancel-is-false-once-the-task-started
  (let [started (promise), gate (promise), done (promise)
        task (timer/schedule-task 0 (deliver started true) (await! gate) (deliver done true))]
    (await! started)
    (is (false? (timer/cancel task)) "while it runs")
    (deliver gate true)
    (await! done)
    (is (false? (timer/cancel task)) "after it ran")))

(deftest one-of-many-cancels-wins-against-each-other-and-the-run
  (dotimes [_ 200]
    (let [wins  (atom 0)
          start (CountDownLatch. 1)
          task  (timer/schedule-task 1 (swap! wins inc))
          racers (doall (for [_ (range 3)]
                          (future (.await start)
                            (when (timer/cancel task) (swap! wins inc)))))]
      (.countDown start)
      (run! deref racers)
      (settle!)
      (is (= 1 @wins)))))

(defn- captured-err [f]
  (let [old System/err
        out (ByteArrayOutputStream.)]
    (System/setErr (PrintStream. out true))
    (try (f) (finally (System/setErr old)))
    (str out)))

(deftest exceptions-are-printed-and-the-thread-lives-on
  (let [thread-of (fn [] (let [p (promise)]
                           (timer/schedule-task 0 (deliver p (Thread/currentThread)))
                           (await! p)))
        before    (thread-of)
        err       (captured-err
                    (fn []
                      (timer/schedule-task 0 (throw (RuntimeException. "boom")))
                      (timer/schedule-task 0 (throw (StackOverflowError. "deep")))
                      (timer/schedule-task 0 (.interrupt (Thread/currentThread)))
                      (settle!)))]
    (is (str/includes? err "java.lang.RuntimeException: boom"))
    (is (str/includes? err "java.lang.StackOverflowError: deep"))
    (is (identical? before (thread-of)))))

(deftest an-error-that-cannot-be-printed-affects-no-other-task
  (let [old System/err]
    (System/setErr (proxy [PrintStream] [(ByteArrayOutputStream.)]
                     (print [_] (throw (IllegalStateException. "no paper")))))
    (try
      (timer/schedule-task 0 (throw (RuntimeException. "boom")))
      (settle!)
      (finally (System/setErr old)))))

(deftest texts-of-task-and-service
  (let [task (timer/schedule-task never nil)]
    (is (re-matches #"timeout=600000ms, due in \d+ms" (str task)))
    (is (re-matches #"pending=[1-9]\d*, thread started:true" (str TimerService/SERVICE)))
    (timer/cancel task)
    (is (= "timeout=600000ms, done or canceled" (str task)))))

(deftest cancelled-tasks-leave-the-queue
  (let [service (TimerService. 100)
        tasks   (doall (repeatedly 1000 #(.scheduleTask service never (fn []))))]
    (is (str/starts-with? (str service) "pending=1000,"))
    (run! timer/cancel (shuffle tasks))
    (is (str/starts-with? (str service) "pending=0,"))))

(deftest the-thread-starts-on-demand-and-ends-when-idle
  (let [service (TimerService. 20)
        thread  (fn [] (let [p (promise)]
                         (.scheduleTask service 0 #(deliver p (Thread/currentThread)))
                         (await! p)))
        idle?   #(= "pending=0, thread started:false" (str service))]
    (is (idle?))
    (let [first-one ^Thread (thread)]
      (is (wire/eventually idle?))
      (.join first-one 10000)
      (is (not (.isAlive first-one)))
      (is (not (identical? first-one (thread))) "a new one"))
    (testing "also when the task it waits for is cancelled"
      (let [task (.scheduleTask service never (fn []))
            t    ^Thread (thread)]
        (is (wire/eventually #(= Thread$State/TIMED_WAITING (.getState t))))
        (timer/cancel task))
      (is (wire/eventually idle?)))))

(deftest the-thread-inherits-whether-it-is-a-daemon
  (doseq [daemon? [true false]]
    (let [service (TimerService. 20)
          p       (promise)
          task    #(deliver p (.isDaemon (Thread/currentThread)))]
      (.start (doto (Thread. #(.scheduleTask service 0 task)) (.setDaemon daemon?)))
      (is (= daemon? (await! p))))))

(deftest tasks-are-never-lost-between-two-threads-of-the-service
  ;; An idle life of 0 makes the thread end all the time.
  (let [service (TimerService. 0)
        lost    (fn [i]
                  (let [ran (promise)]
                    (.scheduleTask service 0 #(deliver ran true))
                    (when-not (true? (await! ran)) i)))]
    (is (nil? (some lost (range 3000))) (str service))))

(deftest a-task-stands-alone
  (let [task (CancelableFutureTask. 5 (fn []) (PriorityQueue.))]
    (is (<= (Math/abs (- (.timeoutTs task) (+ 5 (System/currentTimeMillis)))) 1000))
    (is (= [true false] (repeatedly 2 #(.cancel task))))))

(deftest a-cancelled-task-does-not-run-though-the-timer-already-took-it
  (let [ran  (atom false)
        task (CancelableFutureTask. 0 #(reset! ran true) (PriorityQueue.))
        run  (doto (.getDeclaredMethod CancelableFutureTask "runTask" (make-array Class 0))
               (.setAccessible true))]
    (.cancel task)
    (.invoke run task (object-array 0))
    (is (false? @ran))))

(deftest priority-queues-order-and-remove
  (let [q (PriorityQueue.)]
    (is (nil? (.peek q)))
    (doseq [i (shuffle (range 100))] (is (true? (.offer q i))))
    (is (false? (.offer q 5)))
    (is (true? (.remove q 50)))
    (is (false? (.remove q 50)))
    (is (= 99 (.size q)))
    (is (= (remove #{50} (range 100))
           (repeatedly 99 #(let [x (.peek q)] (.remove q x) x))))
    (is (zero? (.size q)))))

;;;; with-timeout

(deftest with-timeout-lets-the-first-call-in-time-through
  (let [log (atom [])
        f   (fn [& args] (swap! log conj args) [:returned args])]
    (is (= [[:returned [1 2]] nil]
           (timer/with-timeout f never (swap! log conj :timed-out)
             [(f 1 2) (f 3)])))
    (is (= [[1 2]] @log)))
  (is (nil? (timer/with-timeout identity never nil))))

(deftest with-timeout-fires-when-nothing-was-called
  (let [fired (promise)
        log   (atom [])
        f     (fn [x] (swap! log conj x))]
    (is (= [nil nil]
           (timer/with-timeout f 20 (do (swap! log conj :timed-out)
                                        (deliver fired (.getName (Thread/currentThread))))
             (is (= "timer-service" (await! fired)))
             [(f 1) (f 2)])))
    (is (= [:timed-out] @log))))

(deftest with-timeout-leaves-the-outer-function-alone-in-the-timeout-form
  (let [result (promise)
        f      (fn [x] (deliver result x))]
    (timer/with-timeout f 10 (f :timed-out))
    (is (= :timed-out (await! result)))))

(deftest no-other-publics
  (is (= '#{schedule-task cancel with-timeout} (set (keys (ns-publics 'org.httpkit.timer))))))
