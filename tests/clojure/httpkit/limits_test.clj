(ns httpkit.limits-test
  "Limits on what a peer may do, and for how long, as options of run-server."
  (:require [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.net InetSocketAddress Socket)
           (org.httpkit.server WebSocketException)))

(set! *warn-on-reflection* true)

(defn- ok [_] {:status 200 :body "ok"})

(def ^:private limit-ms 300)

(defn- fetch-on [conn]
  (wire/send! conn (wire/get-request "/"))
  (wire/answer conn))

(defn- told? [events event]
  (wire/eventually #(some #{event} @events)))

(deftest a-peer-that-sends-no-whole-head-in-time-gets-408-or-is-closed
  (wire/with-server [{:keys [port events]} ok {:header-timeout limit-ms}]
    (with-open [begun  (wire/connect port)
                silent (wire/connect port)]
      (wire/send! begun "GET / HTTP/1.1\r\nHos")
      (is (= [408 "Close" "0" ""]
             ((juxt :status #(get-in % [:headers "connection"]) #(get-in % [:headers "content-length"]) :body)
              (wire/answer begun))))
      (is (wire/closed? begun))
      (is (wire/closed? silent))
      (is (told? events "httpkit.server.timeout.header")))))

(deftest an-idle-connection-is-closed-and-one-with-a-slow-handler-is-not
  (wire/with-server [{:keys [port events]} (fn [{:keys [uri]}]
                                             (when (= "/slow" uri) (Thread/sleep 1500))
                                             (ok nil))
                     {:idle-timeout limit-ms}]
    (with-open [idle (wire/connect port)
                slow (wire/connect port)]
      (wire/send! slow (wire/get-request "/slow"))
      (is (= 200 (:status (fetch-on idle))))
      (is (wire/closed? idle))
      (is (told? events "httpkit.server.timeout.idle"))
      (is (= 200 (:status (wire/answer slow)))))))

(deftest a-body-that-does-not-come-gets-408
  (wire/with-server [{:keys [port events]} ok {:body-timeout limit-ms}]
    (with-open [conn (wire/connect port)]
      (wire/send! conn "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
      (is (= 408 (:status (wire/answer conn))))
      (is (wire/closed? conn))
      (is (told? events "httpkit.server.timeout.body")))))

(deftest a-peer-that-does-not-read-its-response-is-reset
  (wire/with-server [{:keys [port events]} (fn [_] {:status 200 :body (byte-array 20000000)}) {:write-timeout limit-ms}]
    (with-open [^java.io.Closeable conn (wire/wrap (doto (Socket.)
                                  (.setReceiveBufferSize 4096)
                                  (.connect (InetSocketAddress. "127.0.0.1" (int port)))))]
      (wire/send! conn (wire/get-request "/"))
      (is (told? events "httpkit.server.timeout.write"))
      (is (> 20000000 (count (wire/read-rest conn)))))))

(deftest a-handler-that-takes-too-long-is-given-up-on
  (let [closed (promise)]
    (doseq [[make-handler options]
            [[(fn [go] (fn [_] @go (ok nil))) {}]
             [(fn [go] (fn [_ respond _] (future @go (respond (ok nil))))) {:ring-async? true}]
             [(fn [_] (fn [req] (server/as-channel req {:on-close (fn [_ status] (deliver closed status))}))) {}]]
            :let [go (promise)]]
      (wire/with-server [{:keys [port events errors]} (make-handler go) (assoc options :handler-timeout limit-ms)]
        (with-open [conn (wire/connect port)]
          (wire/send! conn (wire/get-request "/"))
          (is (= [503 "Close"] ((juxt :status #(get-in % [:headers "connection"])) (wire/answer conn))))
          (is (told? events "httpkit.server.timeout.handler"))
          (deliver go true)
          (is (wire/closed? conn) "what comes later is not sent"))
        (is (= [] @errors))))
    (is (= :server-close (deref closed wire/patience-ms :not-told)))))

(defn- upload
  "A connection that has sent the first 300,000 of 400,000 bytes."
  [port]
  (doto (wire/connect port)
    (wire/send! "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 400000\r\n\r\n" (byte-array 300000))))

(deftest bodies-for-which-there-is-no-memory-get-503
  (wire/with-server [{:keys [port server warnings]} (fn [{:keys [body]}] {:body (str (count (slurp body)))}) {:max-buffered-bytes 250000}]
    (with-open [first-peer ^java.io.Closeable (upload port)]
      (is (wire/eventually #(<= 290000 (long (get-in (server/server-stats server) [:bytes :held])))))
      (with-open [second-peer ^java.io.Closeable (upload port)]
        (is (= [503 "Close"] ((juxt :status #(get-in % [:headers "connection"])) (wire/answer second-peer)))))
      (is (wire/eventually #(= ["250000 bytes are buffered (:max-buffered-bytes): new request bodies get 503"]
                               (map first @warnings))))
      (wire/send! first-peer (byte-array 100000))
      (is (= "400000" (:body (wire/answer first-peer)))))
    (is (wire/eventually #(= 0 (get-in (server/server-stats server) [:bytes :held])))))
  (doseq [none [nil 0 false]]
    (wire/with-server [{:keys [port]} ok {:max-buffered-bytes none}]
      (is (= 200 (:status (wire/fetch port "/")))))))

(deftest the-default-for-buffered-bytes-depends-on-the-memory-there-is
  (let [standard (doto (.getDeclaredMethod (Class/forName "org.httpkit.server.BufferBudget") "standard" (make-array Class 0))
                   (.setAccessible true))
        machine  (Long/parseLong (second (re-find #"MemTotal: +(\d+) kB" (str (java.nio.file.Files/readAllLines (java.nio.file.Paths/get "/proc/meminfo" (make-array String 0)))))))]
    (is (<= 67108864 (long (.invoke standard nil (object-array 0))) (max 67108864 (* 256 machine))))))

(deftest a-handler-that-times-out-is-interrupted-if-asked-for
  (doseq [[about options] {"default" {}, "one thread" {:allow-virtual? false :thread 1}
                           "a user's pool" {:worker-pool (delay (java.util.concurrent.Executors/newFixedThreadPool 1))}}]
    (let [interrupted (promise)]
      (wire/with-server [{:keys [port errors]} (fn [{:keys [uri]}]
                                                 (when (= "/slow" uri)
                                                   (try @(promise)
                                                        (catch InterruptedException e (deliver interrupted true) (throw e))))
                                                 {:body (str (.isInterrupted (Thread/currentThread)))})
                         (assoc options :handler-timeout limit-ms :interrupt-handlers? true)]
        (is (= 503 (:status (wire/fetch port "/slow"))) about)
        (is (deref interrupted wire/patience-ms false) about)
        (is (= "false" (:body (wire/fetch port "/quick"))) "the interrupt ends with its request")
        (is (wire/eventually #(instance? InterruptedException (second (first @errors)))) about)))))

(deftest a-request-that-got-its-503-before-its-handler-began-is-not-handled
  (doseq [[about options] {"one thread"    {:allow-virtual? false :thread 1}
                           "a user's pool" {:worker-pool (delay (java.util.concurrent.Executors/newFixedThreadPool 1))}}]
    (testing about
      (let [go (promise), handled (atom [])]
        (wire/with-server [{:keys [port errors]}
                           (fn [{:keys [uri]}] (swap! handled conj uri) (when (= "/slow" uri) @go) (ok nil))
                           (assoc options :handler-timeout limit-ms)]
          (with-open [slow (wire/connect port), waits (wire/connect port)]
            (wire/send! slow (wire/get-request "/slow"))
            (is (wire/eventually #(= ["/slow"] @handled)))
            (wire/send! waits (wire/get-request "/waits"))
            (is (= [503 503] (map (comp :status wire/answer) [slow waits]))))
          (deliver go true)
          (is (= 200 (:status (wire/fetch port "/next"))))
          (is (= ["/slow" "/next"] @handled))
          (is (= [] @errors)))))))

(deftest a-handler-that-times-out-keeps-running-if-not-asked-for
  (let [go (promise), ended (promise)]
    (wire/with-server [{:keys [port]} (fn [_] (deliver ended (try @go (catch InterruptedException e e))) {}) {:handler-timeout limit-ms}]
      (is (= 503 (:status (wire/fetch port "/"))))
      (deliver go :went-on)
      (is (= :went-on (deref ended wire/patience-ms :not-told))))))

(deftest a-response-that-has-begun-is-not-given-up-on
  (wire/with-server [{:keys [port]} (fn [req]
                                      (server/as-channel req
                                        {:on-open (fn [ch]
                                                    (server/send! ch {:status 200 :body "a"} false)
                                                    (future (Thread/sleep 1500)
                                                            (server/send! ch "b" true)))}))
                     {:handler-timeout limit-ms}]
    (is (= "ab" (:body (wire/fetch port "/"))))))

(deftest a-websocket-on-which-neither-side-sends-is-closed-with-1001
  (let [closed (promise)]
    (wire/with-server [{:keys [port events]} (fn [req]
                                               (server/as-channel req {:on-close (fn [_ status] (deliver closed status))}))
                       {:ws-idle-timeout limit-ms}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (wire/get-request "/" ["Upgrade" "websocket"] ["Connection" "Upgrade"]
                                           ["Sec-WebSocket-Version" "13"]
                                           ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="]))
        (is (= 101 (:status (wire/read-head conn))))
        (let [[opcode _ high low] (wire/read-exactly conn 4)]
          (is (= [0x88 1001] [(bit-and 0xff (long opcode))
                              (+ (* 256 (bit-and 0xff (long high))) (bit-and 0xff (long low)))])))
        (is (= :server-close (deref closed wire/patience-ms :not-told)))
        (is (told? events "httpkit.server.timeout.ws"))))))

(deftest none-of-these-limits-applies-where-it-is-switched-off
  (doseq [options [{:legacy-timeouts? true}
                   {:header-timeout nil :idle-timeout false :body-timeout 0 :write-timeout nil}]]
    (wire/with-server [{:keys [port]} ok options]
      (with-open [conn (wire/connect port)]
        (is (wire/silent? conn 200))
        (is (= 200 (:status (fetch-on conn))))))))

(deftest legacy-timeouts-leaves-limits-that-are-given
  (wire/with-server [{:keys [port]} ok {:legacy-timeouts? true :idle-timeout limit-ms}]
    (with-open [idle   (wire/connect port)
                silent (wire/connect port)]
      (is (= 200 (:status (fetch-on idle))))
      (is (wire/closed? idle))
      (is (= 200 (:status (fetch-on silent))) "no limit on its head")))
  (wire/with-server [{:keys [port]} (fn [req] {:body (str (count (:headers req)))}) {:legacy-timeouts? true}]
    (let [headers (repeat 1500 ["a" "b"])]
      (is (= 200 (:status (wire/fetch port (apply wire/get-request "/" headers)))) "nor on the number of headers"))))

;; Sizes and numbers

(defn- head-of
  "A GET request with a head of `n` bytes."
  [n]
  (let [lines  (str/join (repeat 3 (str "a: " (apply str (repeat 95 \x)) "\r\n")))
        before (str "GET / HTTP/1.1\r\nHost: h\r\n" lines "b: ")]
    (str before (apply str (repeat (- n (count before) 4) \x)) "\r\n\r\n")))

(deftest a-head-may-have-max-header-bytes-and-no-more
  (doseq [[options n status] [[{:max-header-bytes 500} 500 200]
                              [{:max-header-bytes 500} 501 431]
                              [{:max-header-bytes 500 :max-line 100000} 501 431]
                              [{:max-header-bytes nil :max-line 100000} 90000 200]]]
    (wire/with-server [{:keys [port]} ok options]
      (is (= status (:status (wire/fetch port (head-of n)))) [options n]))))

(deftest trailers-count-towards-max-header-bytes
  (let [head "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"]
    (wire/with-server [{:keys [port]} ok {:max-header-bytes (+ (count head) 8)}]
      (is (= 200 (:status (wire/fetch port (str head "0\r\na: b\r\n\r\n")))))
      (is (= 431 (:status (wire/fetch port (str head "0\r\na: bcde\r\n\r\n"))))))))

(deftest a-connection-ends-with-its-last-request
  (wire/with-server [{:keys [port]} ok {:max-requests-per-connection 3}]
    (with-open [conn (wire/connect port)]
      (wire/send! conn (apply str (repeat 5 (wire/get-request "/"))))
      (is (= [nil nil "Close"] (doall (repeatedly 3 #(get-in (wire/answer conn) [:headers "connection"])))))
      (is (wire/closed? conn)))
    (is (= 200 (:status (wire/fetch port "/"))) "others have their own"))
  (wire/with-server [{:keys [port]} ok {:max-requests-per-connection 0}]
    (with-open [conn (wire/connect port)]
      (dotimes [_ 20]
        (is (= [200 nil] ((juxt :status #(get-in % [:headers "connection"])) (fetch-on conn)))))))
  (wire/with-server [{:keys [port]} (constantly {:status 200 :headers {"Connection" "keep-alive"} :body "ok"})
                     {:max-requests-per-connection 2}]
    (with-open [conn (wire/connect port)]
      (wire/send! conn (apply str (repeat 3 (wire/get-request "/"))))
      (is (= ["keep-alive" "Close"] (doall (repeatedly 2 #(get-in (wire/answer conn) [:headers "connection"])))))
      (is (wire/closed? conn) "whatever the handler says"))))

(deftest a-request-beyond-a-full-queue-is-told-when-to-try-again
  (let [go (promise)]
    (wire/with-server [{:keys [port]} (fn [_] @go (ok nil)) {:allow-virtual? false :thread 1 :queue-size 1}]
      (let [conns (doall (repeatedly 4 #(doto (wire/connect port) (wire/send! (wire/get-request "/")))))]
        (try
          (let [refused (promise)]
            (run! #(future (deliver refused (wire/answer %))) conns)
            (is (= [503 "1"] ((juxt :status #(get-in % [:headers "retry-after"])) (deref refused wire/patience-ms :late)))))
          (finally
            (deliver go true)
            (run! #(.close ^java.io.Closeable %) conns)))))))

;; The log

(def ^:private bytes-of-a-fault (String. (byte-array [-0x7d -0x80 0 0 0 0]) "ISO-8859-1"))

(defn- omitted
  "How many faults of WebSockets this warning says were not logged."
  [[message]]
  (Long/parseLong (or (second (re-find #"^WebSocket protocol error \((\d+) such lines were left out\)$" (str message)))
                      "0")))

(deftest of-many-websockets-that-break-a-rule-few-are-logged-and-the-number-of-the-others
  (let [n 200]
    (wire/with-server [{:keys [port warnings events]} #(server/as-channel % {}) {}]
      (let [conns (vec (repeatedly n #(wire/websocket port)))]
        (try
          (doseq [conn conns] (is (= 101 (:status (wire/answer conn)))))
          (doseq [conn conns] (wire/send! conn bytes-of-a-fault))
          (is (wire/eventually #(= n (count (filter #{"httpkit.server.ws.decode.error"} @events)))) "an event for each")
          (is (wire/eventually #(= n (+ (count (filter (comp nil? first) @warnings)) (reduce + (map omitted @warnings))))))
          (is (> n (count @warnings)))
          (is (every? #(instance? WebSocketException (second %)) @warnings))
          (finally (run! #(.close ^java.io.Closeable %) conns)))))))

(defn- ms-until-told
  "Between the first of many faults and the warning that some were not logged, by a server that is stopped at once."
  []
  (let [n 30, told (promise)
        server (wire/start #(server/as-channel % {})
                           {:warn-logger (fn [& warning] (when (pos? (omitted warning)) (deliver told (System/nanoTime))))})
        conns  (vec (repeatedly n #(wire/websocket (:port server))))]
    (try
      (doseq [conn conns] (is (= 101 (:status (wire/answer conn)))))
      (let [from (System/nanoTime)]
        (doseq [conn conns] (wire/send! conn bytes-of-a-fault))
        (is (wire/eventually #(= n (count (filter #{"httpkit.server.ws.decode.error"} @(:events server))))))
        (is (true? (wire/stop server)))
        (quot (- (long (deref told wire/patience-ms Long/MAX_VALUE)) from) 1000000))
      (finally (run! #(.close ^java.io.Closeable %) conns)))))

(deftest a-stop-tells-how-many-were-not-logged-before-their-second-is-over
  (is (some #(> 1000 (long %)) (repeatedly 5 ms-until-told)) "once, at least, on a busy machine"))

;; Connections

(deftest at-max-connections-the-oldest-idle-one-gives-way-and-new-ones-wait-without
  (wire/with-server [{:keys [server port warnings]} ok {:max-connections 2}]
    (with-open [idle (wire/connect port)]
      (is (= 200 (:status (fetch-on idle))))
      (with-open [busy    (wire/connect port)
                  another (wire/connect port)]
        (wire/send! busy "GET / HTTP/1.1\r\n")
        (wire/send! another "GET / HTTP/1.1\r\n")
        (is (wire/closed? idle))
        ;; Of two that wait at different loops, either may be first.
        (is (wire/eventually #(= 3 (get-in (server/server-stats server) [:connections :accepted]))))
        (let [waiting (future (:status (wire/fetch port "/")))]
          (is (wire/eventually #(= [["2 connections (:max-connections): new ones wait" nil]] @warnings)))
          (is (= :waiting (deref waiting 200 :waiting)))
          (wire/send! busy "Host: h\r\n\r\n")
          (is (= [200 "Close"] ((juxt :status #(get-in % [:headers "connection"])) (wire/answer busy))))
          (is (wire/closed? busy))
          (.close ^java.io.Closeable busy)
          (is (= 200 (deref waiting wire/patience-ms :late))))))))

(deftest an-address-has-max-connections-per-ip-and-no-more
  (wire/with-server [{:keys [port]} ok {:max-connections-per-ip 1}]
    (with-open [first-one (wire/connect port)]
      (is (= 200 (:status (fetch-on first-one))))
      (is (wire/refused? port))
      (is (= 200 (:status (fetch-on first-one)))))
    (is (wire/eventually #(try (= 200 (:status (wire/fetch port "/")))
                               (catch java.io.IOException _ false))))))
