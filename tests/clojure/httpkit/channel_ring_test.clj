(ns httpkit.channel-ring-test
  "Ring's WebSocket API, against the stand-in in tests/ring-websocket."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [httpkit.channel-wire :as wire]
            [httpkit.subprocess :as subprocess]
            [httpkit.ws-wire :as frames]
            [org.httpkit.server :as server]
            [ring.websocket :as ws]
            [ring.websocket.protocols :as ring])
  (:import (java.nio ByteBuffer)))

(set! *warn-on-reflection* true)

(defn- send-frames! [conn & fs] (frames/send! conn fs nil))

(defn- text-of [^ByteBuffer buffer]
  (str (.decode java.nio.charset.StandardCharsets/UTF_8 (.duplicate buffer))))

(defn- readable [message]
  (if (instance? ByteBuffer message) [:bytes (text-of message)] message))

(defrecord Recorded [log]
  ring/Listener
  (on-open    [_ socket]             (swap! log conj [:open (ws/open? socket)]))
  (on-message [_ socket message]     (swap! log conj [:message (readable message)])
                                     (ws/send socket message))
  (on-pong    [_ _ data]             (swap! log conj [:pong (text-of data)]))
  (on-error   [_ _ throwable]        (swap! log conj [:error (ex-message throwable)]))
  (on-close   [_ socket code reason] (swap! log conj [:close code reason (ws/open? socket)])))

(defn- reified [log]
  (reify
    ring/Listener
    (on-open    [_ socket]             (swap! log conj [:open (ws/open? socket)]))
    (on-message [_ socket message]     (swap! log conj [:message (readable message)])
                                       (ws/send socket message))
    (on-pong    [_ _ data]             (swap! log conj [:pong (text-of data)]))
    (on-error   [_ _ throwable]        (swap! log conj [:error (ex-message throwable)]))
    (on-close   [_ socket code reason] (swap! log conj [:close code reason (ws/open? socket)]))))

(defn- as-map [log]
  {:on-open    (fn [socket]             (swap! log conj [:open (ws/open? socket)]))
   :on-message (fn [socket message]     (swap! log conj [:message (readable message)])
                                        (ws/send socket message))
   :on-pong    (fn [_ data]             (swap! log conj [:pong (text-of data)]))
   :on-error   (fn [_ throwable]        (swap! log conj [:error (ex-message throwable)]))
   :on-close   (fn [socket code reason] (swap! log conj [:close code reason (ws/open? socket)]))})

(deftest listeners-of-every-kind-hear-everything-in-order
  (doseq [[kind make]  {"record" ->Recorded "reify" reified "map" as-map}
          asynchronous [false true]]
    (let [log     (atom [])
          answer  {:ring.websocket/listener (make log)}
          handler (if asynchronous (fn [_ respond _] (respond answer)) (fn [_] answer))]
      (wire/with-server [{:keys [port errors]} handler {:ring-async? asynchronous}]
        (let [conn (wire/upgrade port)]
          (is (wire/eventually #(= [[:open true]] @log)))
          (send-frames! conn [:text "täxt"] [:binary {:hex "6162"}])
          (is (= [[:text "t\u00c3\u00a4xt"] [:binary "ab"]] (repeatedly 2 #(frames/receive! conn))))
          (send-frames! conn [:pong "p"] [:close 4001 "enough"])
          (is (= [:close 4001 "enough"] (frames/receive! conn)))
          (is (wire/eventually #(= :close (first (peek @log)))))
          (is (= [[:open true] [:message "täxt"] [:message [:bytes "ab"]] [:pong "p"] [:close 4001 "enough" false]]
                 @log)
              (str kind " " asynchronous))
          (is (empty? @errors))
          (wire/disconnect conn))))))

(deftest a-response-may-be-any-map-of-java
  (wire/with-server [{:keys [port]}
                     (fn [_] (doto (java.util.HashMap.)
                               (.putAll {:ring.websocket/listener {} :ring.websocket/protocol "chat"})))
                     {}]
    (let [{:keys [head] :as conn} (wire/upgrade port "Sec-WebSocket-Protocol: chat")]
      (is (= "chat" (get-in head [:headers "sec-websocket-protocol"])))
      (wire/disconnect conn))))

(deftest the-subprotocol-is-the-handlers
  (wire/with-server [{:keys [port]}
                     (fn [_] {:ring.websocket/listener {} :ring.websocket/protocol "chat.v2"
                              :status 500 :headers {"X-Dropped" "yes"}})
                     {}]
    (let [{:keys [head] :as conn} (wire/upgrade port "Sec-WebSocket-Protocol: chat.v1, chat.v2")]
      (is (= "chat.v2" (get-in head [:headers "sec-websocket-protocol"])))
      (is (nil? (get-in head [:headers "x-dropped"])))
      (wire/disconnect conn))))

(deftest a-subprotocol-cannot-smuggle-headers
  (wire/with-server [{:keys [port errors]}
                     (fn [_] {:ring.websocket/listener {} :ring.websocket/protocol "chat\r\nX-Evil: yes"}) {}]
    (is (= 500 (:status (:head (ex-data (is (thrown? clojure.lang.ExceptionInfo (wire/upgrade port))))))))
    (is (= 1 (count @errors)))))

(defn- pings-of
  "What comes back for a ping with data \"x\"."
  [handler]
  (wire/with-server [{:keys [port]} handler {}]
    (let [conn (wire/upgrade port)]
      (send-frames! conn [:ping "x"] [:text "done?"])
      (let [seen (doall (take-while #(not= [:text "done"] %) (repeatedly 5 #(frames/receive! conn))))]
        (wire/disconnect conn)
        seen))))

(defn- done-map [on-ping]
  (cond-> {:on-message (fn [socket _] (ws/send socket "done"))}
    on-ping (assoc :on-ping on-ping)))

(deftest each-ping-gets-exactly-one-pong
  (let [heard  (atom [])
        hear!  #(swap! heard conj (String. ^bytes %))]
    (testing "by the server, for listeners that do not care"
      (is (= [[:pong "x"]]
             (pings-of (fn [_] {:ring.websocket/listener
                                (reify ring/Listener
                                  (on-open [_ _]) (on-pong [_ _ _]) (on-error [_ _ _]) (on-close [_ _ _ _])
                                  (on-message [_ socket _] (ws/send socket "done")))})))))
    (testing "by maps"
      (is (= [[:pong "x"]] (pings-of (fn [_] {:ring.websocket/listener (done-map nil)})))))
    (testing "by a PingListener itself, or not at all"
      (is (= [[:pong "mine"]]
             (pings-of (fn [_] {:ring.websocket/listener
                                (done-map (fn [socket _] (ws/pong socket (ByteBuffer/wrap (.getBytes "mine")))))}))))
      (is (= [] (pings-of (fn [_] {:ring.websocket/listener (done-map (fn [_ _]))})))))
    (testing "by the server before on-ping of as-channel"
      (is (= [[:pong "x"]]
             (pings-of #(server/as-channel % {:on-ping    (fn [_ data] (hear! data))
                                              :on-receive (fn [ch _] (server/send! ch "done"))}))))
      (is (= ["x"] @heard)))))

(deftest on-error-hears-what-callbacks-throw-and-the-log-too
  (let [log (atom [])
        fail (fn [about] (fn [& _] (throw (ex-info about {}))))
        listener {:on-open (fail "open") :on-message (fail "message") :on-pong (fail "pong") :on-ping (fail "ping")
                  :on-close (fail "close")
                  :on-error (fn [socket throwable] (swap! log conj [(ex-message throwable) (ws/open? socket)]))}]
    (wire/with-server [{:keys [port errors]} (fn [_] {:ring.websocket/listener listener}) {}]
      (let [conn (wire/upgrade port)]
        (is (wire/eventually #(seq @log)) "on-open")
        (send-frames! conn [:text "a"] [:pong "b"] [:ping "c"] [:close 1000])
        (is (wire/eventually #(= 5 (count @log))))
        (is (= [["open" true] ["message"] ["pong"] ["ping"] ["close" false]]
               (map-indexed (fn [i entry] (if (< 0 i 4) [(first entry)] entry)) @log)))
        (is (wire/eventually #(= {"open" 1 "message" 1 "pong" 1 "ping" 1 "close" 1}
                                 (frequencies (map (comp ex-message second) @errors)))))
        (wire/disconnect conn)))))

(deftest an-on-error-that-throws-does-no-harm
  (let [failing (fn [& _] (throw (ex-info "again" {})))]
    (wire/with-server [{:keys [port errors]}
                       (fn [_] {:ring.websocket/listener {:on-message (fn [socket message]
                                                                        (if (= message "fail") (failing) (ws/send socket message)))
                                                          :on-error   failing}})
                       {}]
      (let [conn (wire/upgrade port)]
        (send-frames! conn [:text "fail"] [:text "fine"])
        (is (= [:text "fine"] (frames/receive! conn)))
        (is (wire/eventually #(seq @errors)))
        (wire/disconnect conn)))))

(deftest sockets-answer-with-booleans-and-refuse-other-types
  (let [socket (promise)]
    (wire/with-server [{:keys [port]}
                       (fn [_] {:ring.websocket/listener {:on-open #(deliver socket %)}}) {}]
      (let [conn   (wire/upgrade port)
            socket (wire/outcome socket)]
        (is (true? (ring/-open? socket)))
        (is (thrown? ClassCastException (ring/-send socket 42)))
        (is (true? (ws/send socket "a")))
        (let [buffer (ByteBuffer/wrap (.getBytes "xbcx") 1 2)]
          (is (true? (ws/send socket buffer)))
          (is (zero? (.remaining buffer)) "it is consumed"))
        (is (true? (ws/ping socket (ByteBuffer/wrap (.getBytes "p")))))
        (is (thrown? IllegalArgumentException (ws/ping socket (ByteBuffer/allocate 126))))
        (is (thrown? IllegalArgumentException (ws/close socket 999 "")))
        (is (true? (ws/close socket 4000 "bye")))
        (is (= [[:text "a"] [:binary "bc"] [:ping "p"] [:close 4000 "bye"]] (repeatedly 4 #(frames/receive! conn))))
        (doseq [again [#(ring/-open? socket) #(ws/send socket "late") #(ws/ping socket) #(ws/pong socket) #(ws/close socket)]]
          (is (false? (again))))
        (wire/disconnect conn)))))

(defn- asynchronously
  "Sends with callbacks; a promise of :sent or the failure."
  [socket message]
  (let [outcome (promise)]
    (ws/send socket message #(deliver outcome :sent) #(deliver outcome %))
    outcome))

(deftest callbacks-of-asynchronous-sends-run-once-and-what-they-throw-is-logged
  (let [socket (promise) calls (atom [])]
    (wire/with-server [{:keys [port errors]} (fn [_] {:ring.websocket/listener {:on-open #(deliver socket %)}}) {}]
      (let [conn   (wire/upgrade port)
            socket (wire/outcome socket)
            call   (fn [kind] (fn [& _] (swap! calls conj kind) (throw (ex-info (name kind) {}))))]
        (ws/send socket "text" (call :succeed) (call :fail))
        (is (wire/eventually #(= [:succeed] @calls)))
        (is (wire/eventually #(= ["succeed"] (map (comp ex-message second) @errors))))
        (wire/disconnect conn)
        (is (wire/eventually #(not (ws/open? socket))))
        (is (thrown-with-msg? clojure.lang.ExceptionInfo #"fail" (ws/send socket "late" (call :succeed) (call :fail))))
        (is (= [:succeed :fail] @calls))))))

(deftest asynchronous-sends-succeed-once-they-are-written
  (let [socket (promise)]
    (wire/with-server [{:keys [port]} (fn [_] {:ring.websocket/listener {:on-open #(deliver socket %)}}) {}]
      (let [conn   (wire/upgrade port)
            socket (wire/outcome socket)
            big    (apply str (repeat 12000000 "x"))
            sent   (asynchronously socket big)]
        (is (not (realized? sent)) "it has not been read yet")
        (is (= [:text [12000000 (second (frames/summary (.getBytes ^String big)))]] (frames/receive! conn)))
        (is (= :sent (wire/outcome sent)))
        (is (= [:sent :sent] (map wire/outcome (doall (repeatedly 2 #(asynchronously socket "small"))))))
        (wire/disconnect conn)
        (is (wire/eventually #(not (ws/open? socket))))
        (is (instance? java.io.IOException (wire/outcome (asynchronously socket "late"))))
        (is (instance? ClassCastException (wire/outcome (asynchronously socket 42))))))))

(deftest asynchronous-sends-fail-when-the-peer-leaves-before-they-are-written
  (let [socket (promise)]
    (wire/with-server [{:keys [port]} (fn [_] {:ring.websocket/listener {:on-open #(deliver socket %)}}) {}]
      (let [conn (wire/upgrade port)
            sent (asynchronously (wire/outcome socket) (apply str (repeat 12000000 "x")))]
        (wire/reset conn)
        (is (instance? java.io.IOException (wire/outcome sent)))))))

(deftest a-close-behind-an-asynchronous-send-does-not-decide-its-outcome
  (doseq [[about size answer expected]
          [["written at once" 3 #(repeatedly 2 (partial frames/receive! %)) #{:sent}]
           ["read later" 12000000 #(repeatedly 2 (partial frames/receive! %)) #{:sent}]
           ["lost" 12000000 (fn [conn] (wire/reset conn)) #(instance? java.io.IOException %)]]]
    (testing about
      (let [sent (promise)]
        (wire/with-server [{:keys [port]}
                           (fn [_]
                             {:ring.websocket/listener
                              {:on-message (fn [socket _]
                                             (deliver sent (asynchronously socket (apply str (repeat size "x"))))
                                             (ws/close socket 1000 "done"))}})
                           {}]
          (let [conn (wire/upgrade port)]
            (send-frames! conn [:text "go"])
            (let [outcome (wire/outcome sent)
                  frames  (answer conn)]
              (when (= #{:sent} expected)
                (is (= [:close 1000 "done"] (last frames))))
              (is (expected (wire/outcome outcome)) (str (wire/outcome outcome)))
              (wire/disconnect conn))))))))

(deftest a-bad-handshake-is-a-400-and-no-listener-hears-of-it
  (let [log (atom [])]
    (wire/with-server [{:keys [port]} (fn [_] {:ring.websocket/listener (as-map log)}) {}]
      (let [{:keys [status text]} (wire/exchange port (wire/get-request "/" "Upgrade: websocket"))]
        (is (= [400 "Bad Sec-WebSocket-Key header"] [status text]))))
    (is (empty? @log))))

(deftest an-ordinary-request-gets-an-ordinary-answer
  (wire/with-server [{:keys [port]} (fn [_] {:status 201 :body "plain" :ring.websocket/listener {}}) {}]
    (is (= [201 "plain"] ((juxt :status :text) (wire/exchange port (wire/get-request "/")))))))

(deftest what-is-no-listener-is-a-500-before-the-handshake
  (wire/with-server [{:keys [port]} (fn [_] {:ring.websocket/listener "no listener"}) {}]
    (is (= 500 (:status (:head (ex-data (is (thrown? clojure.lang.ExceptionInfo (wire/upgrade port))))))))))

(def ^:private ordinary-answer
  '(do (require '[httpkit.channel-wire :as wire] 'ring.websocket)
       (wire/with-server [{:keys [port]} (fn [_] {:status 201 :body "plain" :ring.websocket/listener {}}) {}]
         (prn @(var org.httpkit.server/no-ring-websockets?)
              (try (wire/upgrade port)
                   :upgraded
                   (catch clojure.lang.ExceptionInfo e
                     (get-in (ex-data e) [:head :status])))))
       (System/exit 0)))

(deftest the-property-turns-the-api-off-and-a-private-var-tells-so-to-other-programs-tests
  (doseq [[property said] {"true" "true 201", "false" "nil :upgraded"}]
    (is (= said (last (str/split-lines (:out (subprocess/run (pr-str ordinary-answer)
                                                             :jvm-args [(str "-Dhttp-kit.no-ring-websockets=" property)]))))))))
