(ns httpkit.client-faults-test
  "User code of the client that throws, also the very exception that it was given: no request loses its end."
  (:require [clojure.test        :refer [deftest is testing]]
            [httpkit.client-peer :as peer]
            [org.httpkit.client  :as client])
  (:import (java.io IOException)
           (java.net ServerSocket)
           (java.nio.channels SocketChannel)
           (java.nio.channels.spi SelectorProvider)
           (java.util.concurrent Executors ThreadPoolExecutor)
           (javax.net.ssl SSLContext SSLEngine SSLEngineResult$HandshakeStatus)
           (org.httpkit.client IFilter)))

(set! *warn-on-reflection* true)

(def ^:private same (OutOfMemoryError. "thrown by user code, again and again"))

(def ^:private throwing-filter
  (reify IFilter
    (^boolean accept [_ ^java.util.Map _] (throw same))
    (^boolean accept [_ ^org.httpkit.DynamicBytes _] (throw same))))

(defmacro ^:private quietly
  "Standard error goes nowhere."
  [& body]
  `(let [err# System/err]
     (System/setErr (java.io.PrintStream. (java.io.OutputStream/nullOutputStream)))
     (try ~@body (finally (System/setErr err#)))))

(defn- outcome [result]
  (let [{:keys [status error] :as value} (deref result 20000 :lost)]
    (cond
      (= :lost value)         :lost
      (identical? same error) :same
      error                   (class error)
      :else                   (or status value))))

(deftest loggers-and-callbacks-that-throw-cost-no-end-and-no-thread
  (let [pool (doto ^ThreadPoolExecutor (Executors/newFixedThreadPool 3) .prestartAllCoreThreads)
        ran  (atom #{})]
    (doseq [logger [(fn [_ ex] (throw ex)) (fn [_ _] (throw same))]]
      (peer/with-peer [p (peer/answering (constantly "ok"))]
        (let [c    (client/make-client {:error-logger logger :event-logger (fn [_] (throw same))})
              get  (fn [opts & [callback]]
                     (client/get (:url p) (merge {:client c :worker-pool pool} opts) callback))
              all  (fn [opts & [callback]]
                     (set (mapv outcome (vec (repeatedly 20 #(get opts callback))))))]
          (quietly
           (is (= #{:same} (all {} (fn [_] (swap! ran conj (Thread/currentThread)) (throw same)))) "callbacks")
           (is (= #{:same} (all {:filter throwing-filter})) "filters")
           (is (= #{:same} (all {:filter throwing-filter} (fn [{:keys [error]}] (throw error)))) "both")
           (is (= #{200} (all {})) "and the client goes on"))
          (client/client-stop! c))))
    (is (= 3 (.getPoolSize pool)))
    (is (<= (count @ran) 3) "no thread of the pool was lost and replaced")
    (.shutdown pool)))

(deftest pools-that-throw-end-the-request
  (peer/with-peer [p (peer/answering (constantly "ok"))]
    (let [c    (client/make-client {:error-logger (fn [_ ex] (throw ex))})
          pool (proxy [java.util.concurrent.AbstractExecutorService] []
                 (execute [_] (throw (IllegalStateException. "no"))))
          once (proxy [java.util.concurrent.AbstractExecutorService] []
                 (execute [^Runnable task] (.run task) (throw same)))]
      (is (= IllegalStateException (outcome (client/get (:url p) {:client c :worker-pool pool}))))
      (testing "also those that have no memory however often they are asked"
        (let [pool (proxy [java.util.concurrent.AbstractExecutorService] [] (execute [_] (throw same)))]
          (is (= :same (outcome (client/get (:url p) {:client c :worker-pool pool}))))))
      (testing "once, also when they have run the task"
        (let [calls (atom 0)]
          (is (= :called (outcome (client/get (:url p) {:client c :worker-pool once}
                                              (fn [_] (swap! calls inc) :called)))))
          (is (= 1 @calls))))
      (is (= 200 (outcome (client/get (:url p) {:client c}))))
      (client/client-stop! c))))

(defn- channel-that-throws
  "A channel whose connect and close throw the same exception."
  [^Throwable ex]
  (proxy [SocketChannel] [(SelectorProvider/provider)]
    (isConnected [] false)
    (connect [_] (throw ex))
    (implConfigureBlocking [_])
    (implCloseSelectableChannel [] (throw ex))))

(deftest a-channel-that-throws-one-exception-from-connect-and-close-ends-its-request
  (doseq [ex [(IOException. "again") same (ex-info "again" {})]]
    (let [c (client/make-client {:channel-factory (fn [_] (channel-that-throws ex))
                                 :error-logger    (fn [_ ex] (throw ex))})]
      (quietly
       (is (identical? ex (:error (deref (client/get "http://127.0.0.1:1/" {:client c :timeout 60000}) 20000 nil)))))
      (client/client-stop! c))))

(defn- engine-with-task
  "An engine whose handshake has a task that throws, and who never hears of that."
  ^SSLEngine [^Throwable ex]
  (let [real  (.createSSLEngine (SSLContext/getDefault))
        tasks (atom [(fn [] (throw ex))])]
    (proxy [SSLEngine] []
      (setUseClientMode [_])
      (getUseClientMode [] true)
      (beginHandshake [])
      (getSession [] (.getSession real))
      (getSSLParameters [] (.getSSLParameters real))
      (setSSLParameters [_])
      (getHandshakeStatus [] SSLEngineResult$HandshakeStatus/NEED_TASK)
      (getDelegatedTask [] (let [[task] @tasks] (swap! tasks empty) task)))))

(deftest a-task-of-a-tls-engine-that-throws-ends-its-request
  (with-open [server (ServerSocket. 0)]
    (let [c (client/make-client {:error-logger (fn [_ ex] (throw ex))})]
      (quietly
       (is (= :same (outcome (client/get (str "https://127.0.0.1:" (.getLocalPort server) "/")
                                         {:client c :sslengine (engine-with-task same) :timeout 60000})))))
      (client/client-stop! c))))

(deftest a-transport-thread-that-is-interrupted-goes-on
  (peer/with-peer [p (peer/answering (constantly "ok"))]
    (let [c   (client/make-client {:channel-factory (fn [_] (SocketChannel/open))})
          get #(outcome (client/get (:url p) {:client c :keepalive -1}))]
      (is (= 200 (get)))
      (doseq [^Thread thread (keys (Thread/getAllStackTraces))
              :when (= "client-transports" (.getName thread))]
        (.interrupt thread))
      (is (every? #{200} (repeatedly 5 get)))
      (client/client-stop! c))))
