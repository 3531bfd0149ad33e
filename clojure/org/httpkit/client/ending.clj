(ns ^:no-doc org.httpkit.client.ending
  "One call, including its redirects: how it is cancelled and completed. Not API."
  (:import
   [clojure.lang IBlockingDeref IDeref IPending]
   [java.util Locale]
   [java.util.concurrent CancellationException Future FutureTask TimeUnit]
   [java.util.concurrent.atomic AtomicInteger AtomicReference]
   [org.httpkit.client HttpClient]))

(set! *warn-on-reflection* true)

;;;; Cancelling and waiting

(def ^:private ^:dynamic *in-callback?* false)

(def ^:private cancelled (Object.))

(defn- new-control
  "State shared by the hops of one call: the latest hop's canceller (a Runnable), or
  `cancelled`, the stage of its completion, and its deadline."
  [deadline]
  {:hop         (AtomicReference.)
   :stage       (AtomicInteger.)
   :deadline    deadline
   :deadline-at (when deadline (+ (System/nanoTime) (* 1000000 (long deadline))))})

(defn control
  "The control of the call that `opts` continue after a redirect, or a new one."
  [{:keys [deadline] :as opts}]
  (or (::control (meta opts))
      (new-control (when deadline (max 0 (long deadline))))))

(defn with-control [opts control]
  (vary-meta opts assoc ::control control))

(defn set-hop!
  "From now on, cancelling runs `canceller`; immediately if already cancelled."
  [{:keys [^AtomicReference hop]} ^Runnable canceller]
  (loop []
    (let [current (.get hop)]
      (cond
        (identical? current cancelled)             (.run canceller)
        (.compareAndSet hop current canceller) nil
        :else                                  (recur)))))

(defn- cancel! [{:keys [^AtomicReference hop]}]
  (let [latest (.getAndSet hop cancelled)]
    (when-not (or (nil? latest) (identical? latest cancelled))
      (.run ^Runnable latest))))

(defn- cancelled? [{:keys [^AtomicReference hop]}]
  (identical? (.get hop) cancelled))

(defn- check-deadlock! []
  (when *in-callback?*
    (throw (Exception. "Deref of a response in a callback: this could wait for its own thread (deadlock-guard). Pass on what the callback gets, or give :deadlock-guard? false."))))

;; A response that has arrived, and is converted by the first thread that asks for it.
(deftype ^:private Unread [^FutureTask task])

(defn- settled [value]
  (if (instance? Unread value)
    (let [^FutureTask task (.-task ^Unread value)]
      (.run task)
      (.get task))
    value))

(defn guarded
  "The result of a request: its promise, which refuses to block in callbacks, and
  a Future."
  [promise control]
  (reify
    IDeref
    (deref [_] (check-deadlock!) (settled (deref promise)))

    IBlockingDeref
    (deref [_ timeout-ms timeout-val]
      (check-deadlock!)
      (settled (deref promise timeout-ms timeout-val)))

    IPending
    (isRealized [_] (realized? promise))

    Future
    (cancel [this _]
      (if (.isDone this)
        false
        (do (cancel! control) true)))
    (isCancelled [_] (cancelled? control))
    (isDone [_] (or (cancelled? control) (realized? promise)))
    (get [_]
      (check-deadlock!)
      (when (cancelled? control) (throw (CancellationException.)))
      (let [value (deref promise)]
        (when (cancelled? control) (throw (CancellationException.)))
        (settled value)))
    (get [_ timeout unit]
      (check-deadlock!)
      (when (cancelled? control) (throw (CancellationException.)))
      (let [value (deref promise (.toMillis ^TimeUnit unit timeout) cancelled)]
        (cond
          (cancelled? control)           (throw (CancellationException.))
          (identical? value cancelled) (throw (java.util.concurrent.TimeoutException.))
          :else                          (settled value))))))

(defn- bare-opts [opts]
  (vary-meta opts #(not-empty (dissoc % ::control))))

;;;; The end of a call
;;
;; It has one, whatever throws: the callback, a logger, or the JVM because the heap is full. Then nothing can be made
;; any more, so the last resort is made with the request. And Clojure makes an object of a `try` that does not end its
;; function, so each of these is a function of its own.

(def ^:private out-of-memory
  (doto (OutOfMemoryError. "No memory for the response")
    (.setStackTrace (make-array StackTraceElement 0))))

;; `stage`: 0 before the end, 1 from then on, 2 once the callback is called.
(deftype Ending [promise opts callback client stage last-resort])

(defn new-ending [promise opts callback client {:keys [stage]}]
  (let [opts (bare-opts opts)]
    (Ending. promise opts callback client stage {:opts opts :error out-of-memory})))

(defn- call-back [^Ending ending response]
  (binding [*in-callback?* true]
    (.set ^AtomicInteger (.-stage ending) 2)
    ((.-callback ending) response)))

(defn- callback-failed [^Ending ending t]
  (let [{:keys [method url] :as opts} (.-opts ending)]
    (.logError ^HttpClient (.-client ending)
               (str (.toUpperCase (name (or method :get)) Locale/ROOT) " " url "'s callback") t)
    {:opts opts :error t}))

(defn- call-back-at-last
  "The callback's value for the last resort."
  [^Ending ending]
  (try (.set ^AtomicInteger (.-stage ending) 2)
       ((.-callback ending) (.-last-resort ending))
       (catch Throwable _ (.-last-resort ending))))

(defn- callback-value [^Ending ending response]
  (try (call-back ending response)
       (catch Throwable t
         (if (= 2 (.get ^AtomicInteger (.-stage ending)))
           (callback-failed ending t)
           (call-back-at-last ending)))))

(defn- value [^Ending ending response]
  (try (callback-value ending response)
       (catch OutOfMemoryError _ (.-last-resort ending))))

(defn end!
  "Delivers `response`, or the callback's value for it, or the callback's error.
  Does nothing and returns false if the call is already completing."
  [^Ending ending response]
  (if (.compareAndSet ^AtomicInteger (.-stage ending) 0 1)
    (do (deliver (.-promise ending)
                 (if (.-callback ending) (value ending response) response))
        true)
    false))

(defn- failed-response [^Ending ending t]
  (try {:opts (.-opts ending) :error t}
       (catch OutOfMemoryError _ (.-last-resort ending))))

(defn- converted [ending convert]
  (try (convert)
       (catch Throwable t (failed-response ending t))))

(defn end-later!
  "Delivers a response that the first thread to deref it makes, with `(convert)`. Only
  for `guarded` promises without a callback. Returns whether it was delivered."
  [^Ending ending convert]
  (let [unread (Unread. (FutureTask. ^Callable #(converted ending convert)))]
    (if (.compareAndSet ^AtomicInteger (.-stage ending) 0 1)
      (do (deliver (.-promise ending) unread)
          true)
      false)))

(defn- end-with-error [ending opts t]
  (try (end! ending {:opts opts :error t})
       (catch OutOfMemoryError _ (end! ending (.-last-resort ^Ending ending)))))

(defn fail!
  ([^Ending ending t] (fail! ending (.-opts ending) t))
  ([^Ending ending opts t]
   (when-not (end-with-error ending opts t)
     (.logError ^HttpClient (.-client ending) "a request failed that had its end" t))))
