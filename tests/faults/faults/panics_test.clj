(ns faults.panics-test
  "A panic in the native library is an exception with its message, and costs one connection at most. Needs a
  library with cargo's feature `faults`: `./dev faults`."
  (:require [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.natives    :as natives]
            [httpkit.subprocess :as subprocess]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.lang.reflect Method)
           (org.httpkit HeaderMap HttpUtils)
           (org.httpkit.jni Faults Native)
           (org.httpkit.server AsyncChannel Frame HttpRequest HttpServer IHandler ProxyProtocolOption RespCallback)))

(set! *warn-on-reflection* true)

(deftest a-panic-at-each-native-method-becomes-an-exception-with-its-message
  (wire/with-server [{:keys [port]} (constantly {:status 200 :body "ok"}) {}]
    (let [methods (natives/methods-of-native)
          before  (Native/liveHandles)]
      (natives/check-there-are-methods methods)
      (doseq [^Method method methods]
        (testing (.getName method)
          (let [[outcome thrown] (natives/call-in-time #(Faults/arm) method 0)]
            (is (= :thrown outcome))
            (is (instance? IllegalStateException thrown))
            (is (str/includes? (str (ex-message thrown)) "bug in the native library: fault injected on ThreadId")
                (str thrown)))
          (is (= 200 (:status (wire/fetch port "/"))) "the server goes on")))
      ;; The last answer's handle is given up just after its bytes have left.
      (is (wire/eventually #(= before (Native/liveHandles))) "no handle is left"))))

(defn- quietly-fetch
  "Status of an answer, :closed, or :silent when none came within 10 seconds."
  [port request]
  (try
    (with-open [conn (wire/connect port)]
      (.setSoTimeout ^java.net.Socket (:socket conn) 10000)
      (wire/send! conn request)
      (let [answer (wire/answer conn)]
        (:status answer answer)))
    (catch java.net.SocketTimeoutException _ :silent)
    (catch clojure.lang.ExceptionInfo _ :truncated)))

(def ^:private requests
  [(wire/get-request "/")
   (str "POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
   (wire/get-request "/stream")
   (wire/get-request "/later")
   (wire/get-request "/throw")])

(defn- handler [{:keys [uri body] :as req}]
  (case uri
    "/"       {:status 200 :body "ok"}
    "/body"   {:status 200 :body (slurp body)}
    "/throw"  (throw (ex-info "thrown" {}))
    "/stream" (server/as-channel req {:on-open (fn [ch]
                                                 (dotimes [_ 3] (server/send! ch "piece" false))
                                                 (server/close ch))})
    "/later"  (server/as-channel req {:on-open (fn [ch]
                                                 (future
                                                   (try (server/send! ch "later")
                                                        (catch IllegalStateException _
                                                          (.abort ^AsyncChannel ch)))))})))

(deftest a-server-with-panics-everywhere-loses-connections-and-nothing-else
  (doseq [[about options] {"own threads"   {:allow-virtual? false :thread 4}
                           "a user's pool" {:worker-pool (java.util.concurrent.Executors/newFixedThreadPool 4)}
                           "default"       {}}]
    (testing about
      (let [before (Native/liveHandles)]
        (wire/with-server [{:keys [port]} handler options]
          (is (= 200 (quietly-fetch port (first requests))) "its loops run: one that cannot start ends its server")
          (doseq [every [13 11 7]]
            (Faults/every every)
            (let [outcomes (try (doall (repeatedly 10 #(mapv (partial quietly-fetch port) requests)))
                                (finally (Faults/every 0)))]
              (is (not-any? #{:silent} (flatten outcomes)) (str "no connection hangs: " (frequencies (flatten outcomes))))))
          (is (= [[200 200 200 200 500]] (distinct (repeatedly 10 #(mapv (partial quietly-fetch port) requests))))
              "and when they are over, all is well"))
        (is (wire/eventually #(= before (Native/liveHandles))) "no handle is left")))))

(defn- encoded [status body]
  (HttpUtils/HttpEncode status (HeaderMap.) body))

(def ^:private embedder
  (reify IHandler
    (^void handle [_ ^HttpRequest request ^RespCallback callback]
      (case (.uri request)
        "/"       (.run callback (encoded 200 "ok"))
        "/body"   (.run callback (encoded 200 (.getBody request)))
        "/throw"  (throw (ex-info "thrown" {}))
        "/stream" (doto (.getChannel request) (.send "piece" false) (.send "piece" true))
        "/later"  (future
                    (try (.run callback (encoded 200 (byte-array 200000)))
                         (catch IllegalStateException _
                           (.abort (.getChannel request)))))))
    (^void handle [_ ^AsyncChannel _ ^Frame _])
    (clientClose [_ _ _])
    (close [_ _])))

(deftest a-server-with-a-handler-of-an-embedder-bears-panics-as-well
  (let [before (Native/liveHandles)
        server (doto (HttpServer. "127.0.0.1" 0 embedder 10000 8192 10000 ProxyProtocolOption/DISABLED) (.start))
        fetch  #(mapv (partial quietly-fetch (.getPort server)) requests)]
    (is (= [200 200 200 200 500] (fetch)) "its loops run")
    (doseq [every [13 11 7]]
      (Faults/every every)
      (let [outcomes (try (doall (repeatedly 10 fetch))
                          (finally (Faults/every 0)))]
        (is (not-any? #{:silent} (flatten outcomes)) (str "no connection hangs: " (frequencies (flatten outcomes))))))
    (is (= [[200 200 200 200 500]] (distinct (repeatedly 10 fetch))) "and when they are over, all is well")
    (.stop server 100)
    (is (wire/eventually #(= before (Native/liveHandles))) "no handle is left")))

(deftest a-panic-while-the-library-is-loaded-is-a-link-error-with-its-message
  (let [{:keys [exit out]} (subprocess/run
                            "(println (try (org.httpkit.jni.Native/version)
                                           (catch Throwable t (apply str (interpose \\newline (map ex-message (take-while some? (iterate ex-cause t))))))))
                             (println \"alive\")"
                            :env      {"HTTPKIT_FAULT_AT_LOAD" "1"}
                            :jvm-args [(str "-Dhttp-kit.native.path=" (System/getProperty "http-kit.native.path"))])]
    (is (= 0 exit) out)
    (is (str/includes? out "fault injected while loading") out)
    (is (str/ends-with? out "alive") out)))
