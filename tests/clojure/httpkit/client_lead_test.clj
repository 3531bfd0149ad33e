(ns httpkit.client-lead-test
  "A thread that waits for its response runs the client's loop meanwhile, and neither it nor others suffer from that."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is]]
            [httpkit.client-peer :as peer]
            [org.httpkit.client :as client])
  (:import [java.util.concurrent ConcurrentHashMap CountDownLatch ExecutorService Executors]
           [org.httpkit.client HttpClient PromptHandler RequestConfig RespListener]))

(set! *warn-on-reflection* true)

(def ^:private patience-ms 20000)

(defn- gated
  "Responds at once, but to `/slow` only once the latch is open."
  [^CountDownLatch gate]
  (fn [conn]
    (loop []
      (when-let [{:keys [line]} (peer/read-request! conn)]
        (when (str/starts-with? line "GET /slow")
          (.await gate))
        (peer/respond! conn "ok")
        (recur)))))

(defn- slow [p] (str (:url p) "/slow"))

(defn- call-one-after-the-other! [c p]
  (dotimes [_ 40]
    (is (= "ok" (:body @(client/get (:url p) {:client c}))))))

;; Nothing runs on it: a response that is awaited needs none.
(def ^:private pool (Executors/newSingleThreadExecutor))

(defn- receiving-thread
  "The thread on which the response to one call arrived, which the current thread waited for."
  [^HttpClient c url]
  (let [arrival  (promise)
        handler  (reify PromptHandler
                   (isAwaited [_] true)
                   (onArrival [_ _] (deliver arrival (Thread/currentThread)) true)
                   (onSuccess [_ _ _ _] (deliver arrival :pool))
                   (onThrowable [_ t] (deliver arrival t)))
        listener (RespListener. handler nil ^ExecutorService pool 1)
        call     (.submit c url (RequestConfig.) nil listener)]
    (.lead call)
    (deref arrival patience-ms :nothing)))

(deftest a-caller-that-waits-at-once-comes-to-receive-its-own-response
  (peer/with-peer [p (peer/answering (constantly "ok"))]
    (let [c   (HttpClient.)
          end (+ (System/currentTimeMillis) (long patience-ms))]
      (try
        (is (loop []
              (let [thread (receiving-thread c (:url p))]
                (cond
                  (identical? thread (Thread/currentThread)) true
                  (not (instance? Thread thread))            thread
                  (< (System/currentTimeMillis) end)         (recur)))))
        (finally (.stop c))))))

(defn- virtual-executor []
  (try (.invoke (.getMethod Executors "newVirtualThreadPerTaskExecutor" (make-array Class 0)) nil (object-array 0))
       (catch NoSuchMethodException _ nil)))

(deftest a-virtual-thread-never-runs-the-loop
  (when-let [^ExecutorService virtual (virtual-executor)]
    (peer/with-peer [p (peer/answering (constantly "ok"))]
      (let [c (HttpClient.)]
        (try
          (let [task    ^Callable (fn [] (mapv (fn [_] (receiving-thread c (:url p))) (range 100)))
                threads (.get (.submit virtual task))]
            (is (= #{true} (set (map #(and (instance? Thread %)
                                           (str/starts-with? (.getName ^Thread %) "client-loop"))
                                     threads)))))
          (finally (.stop c) (.shutdown virtual)))))))

(deftest a-timeout-of-deref-holds-while-its-thread-may-lead
  (let [gate (CountDownLatch. 1)]
    (peer/with-peer [p (gated gate)]
      (let [c (client/make-client {})]
        (doseq [ms [0 1 30 100]]
          (call-one-after-the-other! c p)
          (let [start    (System/nanoTime)
                response (client/get (slow p) {:client c})]
            (is (= :late (deref response ms :late)))
            (is (>= (- (System/nanoTime) start) (* 1000000 (long ms))))
            (future-cancel response)))
        (.countDown gate)
        (is (= "ok" (:body (deref (client/get (slow p) {:client c}) Long/MAX_VALUE :late))))
        (.stop ^HttpClient c)))))

(deftest a-thread-that-waits-can-be-interrupted
  (let [gate (CountDownLatch. 1)]
    (peer/with-peer [p (gated gate)]
      (let [c         (client/make-client {})
            responses (promise)
            thrown    (promise)
            thread    (Thread. (fn []
                                 (call-one-after-the-other! c p)
                                 (let [response (client/get (slow p) {:client c})]
                                   (deliver responses response)
                                   (deliver thrown (try @response (catch InterruptedException e e))))))]
        (.start thread)
        (let [response (deref responses patience-ms nil)]
          (.interrupt thread)
          (is (instance? InterruptedException (deref thrown patience-ms :nothing)))
          (.countDown gate)
          (is (= "ok" (:body (deref response patience-ms nil)))))
        (.stop ^HttpClient c)))))

(deftest a-call-ends-when-its-client-stops-or-it-is-cancelled-while-its-caller-waits
  (doseq [end! [(fn [c _] (.stop ^HttpClient c))
                (fn [_ response] (future-cancel response))]]
    (let [gate (CountDownLatch. 1)]
      (peer/with-peer [p (gated gate)]
        (let [c        (client/make-client {})
              started  (promise)
              response (future
                         (call-one-after-the-other! c p)
                         (let [response (client/get (slow p) {:client c})]
                           (deliver started response)
                           @response))]
          (end! c (deref started patience-ms nil))
          (is (some? (:error (deref response patience-ms nil))))
          (.countDown gate)
          (.stop ^HttpClient c))))))

(deftest callbacks-run-on-the-worker-pool-whoever-runs-the-loop
  (peer/with-peer [p (peer/answering (constantly "ok"))]
    (let [c       (client/make-client {})
          threads (ConcurrentHashMap/newKeySet)
          results (doall
                   (for [_ (range 15)]
                     (do (dotimes [_ 12] @(client/get (:url p) {:client c}))
                         (client/get (:url p) {:client c} (fn [_] (.add threads (Thread/currentThread)) :called)))))]
      (is (every? #(= :called (deref % patience-ms nil)) results))
      (is (not-any? #(or (identical? % (Thread/currentThread))
                         (str/starts-with? (.getName ^Thread %) "client-loop"))
                    threads))
      (.stop ^HttpClient c))))

(deftest threads-that-wait-at-the-same-time-all-get-their-responses
  (let [gate (CountDownLatch. 1)]
    (peer/with-peer [p (gated gate)]
      (let [c       (client/make-client {})
            waiting (do (call-one-after-the-other! c p)
                        (future (:body @(client/get (slow p) {:client c}))))
            others  (doall (for [_ (range 4)]
                             (future (dotimes [_ 50]
                                       (assert (= "ok" (:body @(client/get (:url p) {:client c})))))
                                     :done)))]
        (is (= [:done :done :done :done] (map #(deref % patience-ms :waits) others)))
        (.countDown gate)
        (is (= "ok" (deref waiting patience-ms :waits)))
        (.stop ^HttpClient c)))))
