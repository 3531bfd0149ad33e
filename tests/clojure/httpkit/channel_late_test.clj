(ns httpkit.channel-late-test
  "Channels and streams that begin when their exchange is over: told so at once, and not kept."
  (:require [clojure.test :refer [deftest is]]
            [httpkit.channel-wire :as wire]
            [org.httpkit.server :as server])
  (:import (java.io ByteArrayInputStream)
           (java.util Map)
           (org.httpkit.jni Native)
           (org.httpkit.server AsyncChannel HttpServer)))

(set! *warn-on-reflection* true)

(defn- value [object ^String field]
  (.get (doto (.getDeclaredField (class object) field) (.setAccessible true)) object))

(defn- kept
  "How many channels, and senders that wait, the server remembers."
  [^HttpServer server]
  (let [channels (value server "channels")]
    (into {}
          (map (fn [field] [(keyword field) (.size ^Map (value channels field))]))
          ["channels" "drains"])))

(defn- run-after-the-peer
  "What `f` returns when called with the request in a handler whose peer has left and been forgotten."
  [f then]
  (let [live     (atom nil)
        arrived  (promise)
        returned (promise)]
    (wire/with-server [{:keys [port server errors]}
                       (fn [req]
                         (deliver arrived true)
                         (wire/eventually #(= @live (Native/liveHandles)))
                         (let [response (f req)]
                           (deliver returned true)
                           response))
                       {}]
      (reset! live (Native/liveHandles))
      (let [conn (wire/connect port)]
        (wire/write! conn (wire/get-request "/"))
        (wire/outcome arrived)
        (wire/reset conn))
      (is (true? (wire/outcome returned)))
      (then server errors))))

(deftest a-channel-made-after-the-peer-has-left-is-closed-and-says-so
  (let [heard (atom [])]
    (run-after-the-peer
      (fn [req]
        (server/as-channel req {:on-open  (fn [ch] (is (false? (server/send! ch "x" false))))
                                :on-close (fn [_ status] (swap! heard conj status))}))
      (fn [server _]
        (is (wire/eventually #(= {:channels 0 :drains 0} (kept server))))
        (is (= [:client-close] @heard))))))

(deftest a-stream-for-a-peer-that-has-left-is-no-error-and-is-not-kept
  (run-after-the-peer
    (fn [_] {:status 200 :body (ByteArrayInputStream. (byte-array 1000000))})
    (fn [server errors]
      (is (wire/eventually #(= {:channels 0 :drains 0} (kept server))))
      (is (= [] @errors)))))

(deftest looking-at-a-whole-request-after-its-answer-keeps-nothing
  (let [request (promise)]
    (wire/with-server [{:keys [port server]}
                       (fn [req] (deliver request req) {:status 200})
                       {}]
      (is (= 200 (:status (wire/exchange port (wire/get-request "/")))))
      (let [seen (into {} (wire/outcome request))]
        (is (false? (server/open? (:async-channel seen))))
        (is (= {:channels 0 :drains 0} (kept server)))))))

(deftest what-waits-for-a-channel-to-be-flushed-runs-when-it-is-over
  (let [ran (promise)]
    (wire/with-server [{:keys [port server]}
                       (fn [req]
                         (let [ch ^AsyncChannel (:async-channel req)]
                           (server/send! ch "answer")
                           (.whenFlushed ch #(deliver ran true)))
                         {:body (:async-channel req)})
                       {}]
      (wire/exchange port (wire/get-request "/"))
      (is (true? (wire/outcome ran)))
      (is (wire/eventually #(= {:channels 0 :drains 0} (kept server)))))))
