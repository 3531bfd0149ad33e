(ns ^:no-doc org.httpkit.client.ending
  "One call, including its redirects: how it is cancelled and completed. Not API."
  (:import
   [clojure.lang IBlockingDeref IDeref IPending]
   [java.util Locale]
   [java.util.concurrent CancellationException Future TimeUnit]
   [java.util.concurrent.atomic AtomicInteger AtomicReference]
   [org.httpkit.client Ending RespListener UnreadResponse]))

(set! *warn-on-reflection* true)

;;;; Cancelling and waiting

(def ^:private ^:dynamic *in-callback?* false)

;; Once: calls that are under way while this namespace is reloaded have it.
(defonce ^:private cancelled (Object.))

(defn- new-control
  "State shared by the hops of one call: the latest hop's listener, or
  `cancelled`; the stage of its completion; its deadline; its promise, unless that
  is the user's."
  [deadline response]
  {:promise     (when-not response (promise))
   :hop         (AtomicReference.)
   :stage       (AtomicInteger.)
   :deadline    deadline
   :deadline-at (when deadline (+ (System/nanoTime) (* 1000000 (long deadline))))})

(defn control
  "The control of the call that `opts` continue after a redirect, or a new one."
  [{:keys [deadline response] :as opts}]
  (or (::control (meta opts))
      (new-control (when deadline (max 0 (long deadline))) response)))

(defn with-control [opts control]
  (vary-meta opts assoc ::control control))

(defn begin-hop!
  "To be called before the request of a hop is sent: from now on, cancelling cancels its `listener`, and not those of
  earlier hops; immediately if already cancelled."
  [{:keys [^AtomicReference hop] :as control} ^RespListener listener]
  (let [latest (.get hop)]
    (if (identical? latest cancelled)
      (.cancel listener)
      (when-not (.compareAndSet hop latest listener)
        (recur control listener)))))

(defn- cancel! [{:keys [^AtomicReference hop]}]
  (let [latest (.getAndSet hop cancelled)]
    (when (instance? RespListener latest) (.cancel ^RespListener latest))))

(defn- cancelled? [{:keys [^AtomicReference hop]}]
  (identical? (.get hop) cancelled))

(defn- check-deadlock! []
  (when *in-callback?*
    (throw (Exception. "Refusing to deref a response inside a callback: it could deadlock. Use the callback's argument, or pass :deadlock-guard? false."))))

(defn- settled [value]
  (if (instance? UnreadResponse value)
    (do (.run ^UnreadResponse value)
        (.get ^UnreadResponse value))
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
          (cancelled? control)         (throw (CancellationException.))
          (identical? value cancelled) (throw (java.util.concurrent.TimeoutException.))
          :else                        (settled value))))))

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

(defn new-ending [promise opts callback client {:keys [stage]}]
  (let [opts (bare-opts opts)]
    (Ending. promise opts (or callback nil) client stage {:opts opts :error out-of-memory})))

(defn- call-back [^Ending ending response]
  (binding [*in-callback?* true]
    (.set (.-stage ending) 2)
    ((.-callback ending) response)))

(defn- callback-failed [^Ending ending t]
  (let [{:keys [method url] :as opts} (.-opts ending)]
    (.logError (.-client ending)
               (str (.toUpperCase (name (or method :get)) Locale/ROOT) " " url "'s callback") t)
    {:opts opts :error t}))

(defn- call-back-at-last
  "The callback's value for the last resort."
  [^Ending ending]
  (try (.set (.-stage ending) 2)
       ((.-callback ending) (.-lastResort ending))
       (catch Throwable _ (.-lastResort ending))))

(defn- callback-value [^Ending ending response]
  (try (call-back ending response)
       (catch Throwable t
         (if (= 2 (.get (.-stage ending)))
           (callback-failed ending t)
           (call-back-at-last ending)))))

(defn- value [^Ending ending response]
  (try (callback-value ending response)
       (catch OutOfMemoryError _ (.-lastResort ending))))

(defn end!
  "Delivers `response`, or the callback's value for it, or the callback's error.
  Does nothing and returns false if the call is already completing."
  [^Ending ending response]
  (if (.compareAndSet (.-stage ending) 0 1)
    (do (deliver (.-promise ending)
                 (if (.-callback ending) (value ending response) response))
        true)
    false))

(defn- failed-response [^Ending ending t]
  (try {:opts (.-opts ending) :error t}
       (catch OutOfMemoryError _ (.-lastResort ending))))

(defn- converted [ending convert]
  (try (convert)
       (catch Throwable t (failed-response ending t))))

(defn end-later!
  "Delivers a response that the first thread to deref it makes, with `(convert)`. Only
  for `guarded` promises without a callback. Returns whether it was delivered."
  [^Ending ending convert]
  (let [unread (UnreadResponse. #(converted ending convert))]
    (if (.compareAndSet (.-stage ending) 0 1)
      (do (deliver (.-promise ending) unread)
          true)
      false)))

(defn- end-with-error [ending opts t]
  (try (end! ending {:opts opts :error t})
       (catch OutOfMemoryError _ (end! ending (.-lastResort ^Ending ending)))))

(defn fail-now!
  "For calls without a callback: runs no user code. Returns false if the call is already completing."
  [^Ending ending t]
  (end-with-error ending (.-opts ending) t))

(defn fail!
  ([^Ending ending t] (fail! ending (.-opts ending) t))
  ([^Ending ending opts t]
   (when-not (end-with-error ending opts t)
     (.logError (.-client ending) "a request failed after it had ended" t))))
