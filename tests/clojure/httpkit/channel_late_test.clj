(ns httpkit.channel-late-test
  "Channels and streams that begin when their exchange is over: told so at once, and not kept."
  (:require [clojure.test :refer [deftest is testing]]
            [httpkit.channel-wire :as wire]
            [httpkit.scheme :as scheme]
            [org.httpkit.server :as server])
  (:import (java.io ByteArrayInputStream)
           (java.util Map)
           (java.util.concurrent SynchronousQueue TimeUnit)
           (java.util.function Consumer)
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

(deftest a-channel-made-after-its-exchange-tells-the-address-that-the-request-has
  (doseq [[about options head remote] [["plain"   {} "" #(str "/127.0.0.1:" %)]
                                       ["proxied" {:proxy-protocol :enable} "PROXY TCP4 192.0.2.1 192.0.2.2 5 80\r\n"
                                        (constantly "unknown")]]
          ;; The header comes before TLS, so this case cannot be written once for both.
          :when (not (and scheme/https? (:proxy-protocol options)))]
    (testing about
      (let [request (promise)]
        (wire/with-server [{:keys [port]} (fn [req] (deliver request req) {:status 200}) options]
          (let [before (Native/liveHandles)
                conn   (wire/connect port)
                local  (.getLocalPort ^java.net.Socket (:socket conn))]
            (wire/write! conn (str head (wire/get-request "/")))
            (wire/read-answer! conn)
            (wire/disconnect conn)
            (is (wire/eventually #(= before (Native/liveHandles))))
            (is (= (str "unknown<->" (remote local)) (str (:async-channel (wire/outcome request)))))))))))

(defn- use-late
  "What a request's channel, first asked for by another thread, says and hears."
  [req]
  (let [heard (atom [])]
    (wire/outcome
      (future
        (let [ch (:async-channel req)]
          (server/on-close ch #(swap! heard conj %))
          {:same?   (identical? ch (:async-channel req))
           :open?   (server/open? ch)
           :sent    [(server/send! ch {:status 201 :body "stray"} false) (server/send! ch "stray" false)]
           :closed  (server/close ch)
           :heard   @heard})))))

(def ^:private over {:same? true :open? false :sent [false false] :closed false :heard [:server-close]})

(def ^:private returned-maps
  "Functions of a promise that gets what the channel does, while the body is read."
  {"a body that is kept"     (fn [req used] {:body (lazy-seq (deliver used (use-late req)) ["first" "last"])})
   "a body that is streamed" (fn [req used] {:body (cons "first" (lazy-seq (deliver used (use-late req)) ["last"]))
                                             :headers {"Content-Type" "text/event-stream"}})
   "a long body"             (fn [req used] {:body (concat [(apply str (repeat 100000 "x"))]
                                                           (lazy-seq (deliver used (use-late req)) ["last"]))})})

(deftest a-returned-map-is-all-that-is-sent-however-late-another-thread-asks-for-the-channel
  (doseq [[about returned] returned-maps, async? [false true]]
    (testing (str about ", " async?)
      (let [used (promise)]
        (wire/with-server [{:keys [port server errors]}
                           (if async?
                             (fn [req respond _] (respond (returned req used)))
                             (fn [req] (returned req used)))
                           {:ring-async? async?}]
          (let [conn (wire/connect port)]
            (wire/write! conn (wire/get-request "/"))
            (let [{:keys [status text complete?]} (wire/read-answer! conn)]
              (is (= [200 true] [status complete?]))
              (is (re-matches #"(first|x{100000})last" text)))
            (is (= over (wire/outcome used)))
            (wire/write! conn (wire/get-request "/"))
            (is (= 200 (:status (wire/read-answer! conn))) "the connection goes on")
            (wire/disconnect conn))
          (is (= {:channels 0 :drains 0} (kept server)))
          (is (= [] @errors)))))))

(deftest a-channel-that-is-asked-for-after-the-response-is-closed
  (doseq [[about handler] {"a map"        (fn [_] {:status 200})
                           "nil"          (fn [_] nil)
                           "an exception" (fn [_] (throw (IllegalStateException. "failed")))}]
    (testing about
      (let [request (promise)]
        (wire/with-server [{:keys [port server]} (fn [req] (deliver request req) (handler req)) {}]
          (let [conn (wire/connect port)]
            (wire/write! conn (wire/get-request "/"))
            (wire/read-answer! conn)
            (is (= over (use-late (wire/outcome request))))
            (is (= {:channels 0 :drains 0} (kept server)))
            (wire/disconnect conn)))))))

(deftest a-channel-that-is-asked-for-while-the-handler-returns-is-closed-too
  (let [asked (SynchronousQueue.) seen (atom []) heard (atom 0)
        other (future
                (dotimes [_ 1000]
                  (let [ch (:async-channel (.poll asked wire/patience-ms TimeUnit/MILLISECONDS))]
                    (server/on-close ch (fn [_] (swap! heard inc)))
                    (swap! seen conj ch))))]
    (wire/with-server [{:keys [port server]}
                       (fn [req]
                         (.offer asked req wire/patience-ms TimeUnit/MILLISECONDS)
                         (dotimes [_ (rand-int 200)] (Thread/onSpinWait))
                         {:status 200})
                       {}]
      (let [conn (wire/connect port)]
        (dotimes [_ 1000]
          (wire/write! conn (wire/get-request "/"))
          (wire/read-answer! conn))
        (is (nil? (wire/outcome other)))
        (is (wire/eventually #(= 1000 @heard)))
        (is (not-any? server/open? @seen))
        (is (= {:channels 0 :drains 0} (kept server)))
        (wire/disconnect conn)))))

(deftest what-waits-for-a-channel-to-be-flushed-runs-when-it-is-over
  (let [ran (promise)]
    (wire/with-server [{:keys [port server]}
                       (fn [req]
                         (let [ch ^AsyncChannel (:async-channel req)]
                           (server/send! ch "answer")
                           (.whenFlushed ch (reify Consumer (accept [_ _] (deliver ran true)))))
                         {:body (:async-channel req)})
                       {}]
      (wire/exchange port (wire/get-request "/"))
      (is (true? (wire/outcome ran)))
      (is (wire/eventually #(= {:channels 0 :drains 0} (kept server)))))))
