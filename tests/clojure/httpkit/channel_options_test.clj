(ns httpkit.channel-options-test
  "What `as-channel` offers besides callbacks, and what sends look like on the wire."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [httpkit.channel-wire :as wire]
            [httpkit.ws-wire :as frames]
            [org.httpkit.server :as server])
  (:import (java.util.concurrent CountDownLatch)
           (org.httpkit.server Frame$PingFrame Frame$PongFrame)))

(set! *warn-on-reflection* true)

(defn- send-frames! [conn & fs] (frames/send! conn fs nil))

(defn- agreed
  "The subprotocol of the answer to an offer of header lines."
  [subprotocols & lines]
  (wire/with-server [{:keys [port]} #(server/as-channel % {:subprotocols subprotocols}) {}]
    (let [conn (apply wire/upgrade port lines)]
      (wire/disconnect conn)
      (get-in conn [:head :headers "sec-websocket-protocol"]))))

(deftest the-servers-preference-decides-the-subprotocol
  (is (= "b" (agreed ["b" "a"] "Sec-WebSocket-Protocol: a, b")))
  (is (= "a" (agreed ["x" "a" "b"] "Sec-WebSocket-Protocol: b,a")))
  (is (= "a" (agreed ["a"] "Sec-WebSocket-Protocol: b" "Sec-WebSocket-Protocol: a")) "offers of several lines")
  (is (nil? (agreed ["A"] "Sec-WebSocket-Protocol: a")) "case matters")
  (is (nil? (agreed ["c"] "Sec-WebSocket-Protocol: a, b")))
  (is (nil? (agreed ["c"])))
  (is (nil? (agreed nil "Sec-WebSocket-Protocol: a"))))

(defn- own-channel
  "A channel of a user's own, which adds to `log`."
  [log]
  (reify server/Channel
    (open? [_] true)
    (websocket? [_] true)
    (send! [_ data] (swap! log conj data) true)
    (on-receive [_ callback] (callback "received"))))

(deftest the-public-function-makes-the-handshake-also-on-a-channel-of-a-users-own
  (let [log     (atom [])
        own     (own-channel log)
        request {:request-method :get :protocol "HTTP/1.1" :websocket? true :async-channel own
                 :headers {"upgrade" "websocket" "connection" "Upgrade" "sec-websocket-version" "13"
                           "sec-websocket-key" "dGhlIHNhbXBsZSBub25jZQ=="}}
        answer  #(server/as-channel request (merge {:on-open    (fn [ch] (server/send! ch "opened"))
                                                    :on-receive (fn [_ message] (swap! log conj message))} %))]
    (with-redefs [server/send-checked-websocket-handshake! (fn [_ accept] (swap! log conj accept))]
      (is (= {:body own} (answer {:subprotocols nil :headers false :ping-interval 0})))
      (is (= ["received" "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" "opened"] @log)))
    (doseq [opts [{} {:subprotocols ["a"]} {:headers {"x" "1"}} {:ping-interval 1000}
                  {:on-close-raw (fn [_ _ _])}]]
      (is (thrown-with-msg? IllegalArgumentException #" of an object of class .*: expected a channel" (answer opts)) opts))))

(deftest the-handshake-answer-takes-further-headers
  (wire/with-server [{:keys [port]}
                     #(server/as-channel % {:headers {"Set-Cookie" ["a=1" "b=2"] "X-Number" 5 "X-None" nil
                                                      "Upgrade" "nonsense" "Sec-WebSocket-Accept" "nonsense"}})
                     {}]
    (let [{{:keys [headers]} :head :as conn} (wire/upgrade port)]
      (is (= "b=2" (get headers "set-cookie")) "the last of several lines")
      (is (= "5" (get headers "x-number")))
      (is (not (contains? headers "x-none")))
      (is (= "websocket" (get headers "upgrade")))
      (is (= "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" (get headers "sec-websocket-accept")))
      (wire/disconnect conn))))

(deftest further-headers-of-the-handshake-answer-replace-none-of-its-own-in-any-case
  (wire/with-server [{:keys [port]}
                     #(server/as-channel % {:subprotocols ["a"]
                                            :headers      {"upgrade" "x" "CONNECTION" "close" "sec-websocket-accept" "x"
                                                           "sec-WebSocket-protocol" "x" "x-more" "1"}})
                     {}]
    (doseq [offer ["a" "b"]]
      (let [conn (wire/connect port)]
        (wire/write! conn (wire/get-request "/" "Upgrade: websocket" "Connection: Upgrade" "Sec-WebSocket-Version: 13"
                                            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
                                            (str "Sec-WebSocket-Protocol: " offer)))
        (let [lines (doall (take-while seq (repeatedly #(.readLine ^java.io.DataInputStream (:in conn)))))]
          (is (= ["Connection: Upgrade" "Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" "Upgrade: websocket"]
                 (sort (filter #(re-find #"(?i)^(upgrade|connection|sec-websocket-accept):" %) lines))))
          (is (= [(str "Sec-Websocket-Protocol: " (if (= "a" offer) "a" "x"))]
                 (filter #(re-find #"(?i)^sec-websocket-protocol:" %) lines)))
          (is (some #{"X-More: 1"} lines)))
        (wire/disconnect conn)))))

(deftest the-handshake-answer-cannot-be-injected-into
  (doseq [opts [{:headers {"X-Name" "a\r\nX-Evil: yes"}} {:headers {"X-Evil: yes\r\nX" "a"}}
                {:headers {"X-Name" ["fine" "a\nb"]}} {:subprotocols ["a\r\nX-Evil: yes"]}]]
    (wire/with-server [{:keys [port errors]} #(server/as-channel % opts) {}]
      (let [conn (wire/connect port)]
        (wire/write! conn (wire/get-request "/" "Upgrade: websocket" "Connection: Upgrade" "Sec-WebSocket-Version: 13"
                                            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
                                            "Sec-WebSocket-Protocol: a, X-Evil: yes"))
        (let [{:keys [status headers]} (wire/read-head! conn)]
          (is (not (contains? headers "x-evil")))
          (when (:headers opts)
            (is (= 500 status))
            (is (= 1 (count @errors)))))
        (wire/disconnect conn)))))

(deftest a-silent-peer-is-pinged-and-then-given-up
  (let [heard (atom [])]
    (wire/with-server [{:keys [port]}
                       #(server/as-channel % {:ping-interval 100 :ping-timeout 200
                                              :on-close      (fn [_ status] (swap! heard conj status))
                                              :on-close-raw  (fn [_ code _] (swap! heard conj code))})
                       {}]
      (let [conn (wire/upgrade port)]
        (is (= [:ping ""] (frames/receive! conn)))
        (is (= :closed (frames/receive! conn)))
        (is (wire/eventually #(= [:abnormal 1006] @heard)))))
    (is (= [:abnormal 1006] @heard))))

(deftest a-peer-that-answers-pings-stays
  (let [heard (atom [])]
    (wire/with-server [{:keys [port]}
                       #(server/as-channel % {:ping-interval 50 :ping-timeout 2000
                                              :on-receive    (fn [ch message] (server/send! ch message))
                                              :on-close      (fn [_ status] (swap! heard conj status))})
                       {}]
      (let [conn (wire/upgrade port)]
        (dotimes [_ 10]
          (is (= [:ping ""] (frames/receive! conn)))
          (send-frames! conn [:pong ""]))
        (send-frames! conn [:text "still here"])
        (is (= [:text "still here"] (first (remove #{[:ping ""]} (repeatedly #(frames/receive! conn))))))
        (is (= [] @heard))
        (wire/disconnect conn)))))

(deftest a-peer-that-sends-anything-is-not-pinged
  (wire/with-server [{:keys [port]}
                     #(server/as-channel % {:ping-interval 1500 :on-receive (fn [ch message] (server/send! ch message))})
                     {}]
    (let [conn (wire/upgrade port)
          end  (+ (System/nanoTime) 2000000000)]
      (while (< (System/nanoTime) end)
        (send-frames! conn [:text "x"])
        (is (= [:text "x"] (frames/receive! conn)))
        (Thread/sleep 20))
      (wire/disconnect conn))))

(deftest a-peer-is-not-given-up-while-we-do-not-read-it
  ;; A slow callback stops the reading: the silence is ours.
  (let [go-on (promise)]
    (wire/with-server [{:keys [port]}
                       #(server/as-channel % {:ping-interval 200 :ping-timeout 300
                                              :on-receive (fn [ch message]
                                                            (wire/outcome go-on)
                                                            (server/send! ch message))})
                       {:max-pending-messages 2}]
      (let [conn (wire/upgrade port)]
        (apply send-frames! conn (repeat 200 [:text "x"]))
        ;; Answers pings as long as it is silent otherwise.
        (let [answers (future (loop [texts 0]
                                (let [frame (frames/receive! conn)]
                                  (cond (= [:ping ""] frame) (do (send-frames! conn [:pong ""]) (recur texts))
                                        (and (= [:text "x"] frame) (< texts 199)) (recur (inc texts))
                                        :else frame))))]
          (Thread/sleep 1500) ; three times what a silent peer would get
          (deliver go-on true)
          (is (= [:text "x"] (wire/outcome answers)))
          (wire/disconnect conn))))))

(deftest ping-options-are-checked
  (doseq [opts [{:ping-interval -5} {:ping-interval 5 :ping-timeout 0} {:max-pending-bytes 0}
                {:on-overflow :explode}]]
    (wire/with-server [{:keys [port errors]} #(server/as-channel % opts) {}]
      (is (= 500 (:status (:head (ex-data (is (thrown? clojure.lang.ExceptionInfo (wire/upgrade port)))))))
          (pr-str opts))
      (is (instance? IllegalArgumentException (second (first @errors)))))))

(deftest on-close-raw-hears-code-and-reason
  (doseq [[about expected client]
          [["client"  [4001 "täglich"] (fn [conn _] (send-frames! conn [:close 4001 "täglich"]))]
           ["no code" [1005 ""]        (fn [conn _] (send-frames! conn [:close]))]
           ["TCP"     [1001 ""]        (fn [conn _] (wire/disconnect conn))]
           ["server"  [4002 "enough"]  (fn [_ ^org.httpkit.server.AsyncChannel ch] (.serverClose ch 4002 "enough"))]
           ["close"   [1000 ""]        (fn [_ ch] (server/close ch))]
           ["send"    [0 ""]           (fn [_ ch] (server/send! ch "bye" true))]
           ["all"     [0 ""]           (fn [_ ch] (server/broadcast! [ch] "bye" {:close-after-send? true}))]
           ["rule"    [1002 "reserved bit set, no extension negotiated"]
                       (fn [conn _] (send-frames! conn [:text "x" {:rsv 4}]))]]]
    (let [heard (atom []) channel (promise)]
      (wire/with-server [{:keys [port]}
                         #(server/as-channel % {:on-open      (fn [ch] (deliver channel ch))
                                                :on-close-raw (fn [ch code reason] (swap! heard conj [ch code reason]))})
                         {}]
        (let [conn (wire/upgrade port)]
          (client conn (wire/outcome channel))
          (is (wire/eventually #(seq @heard)))
          (is (= [(into [(wire/outcome channel)] expected)] @heard) about)
          (wire/disconnect conn))))))

(deftest an-on-close-that-throws-does-not-silence-on-close-raw
  (let [heard (atom [])]
    (wire/with-server [{:keys [port errors]}
                       #(server/as-channel % {:on-close     (fn [_ _] (throw (ex-info "boom" {})))
                                              :on-close-raw (fn [_ code _] (swap! heard conj code))})
                       {}]
      (let [conn (wire/upgrade port)]
        (send-frames! conn [:close 4001 ""])
        (is (wire/eventually #(= [4001] @heard)))
        (is (wire/eventually #(= ["boom"] (map (comp ex-message second) @errors))))
        (wire/disconnect conn)))))

(deftest sends-inside-callbacks-keep-their-order
  (wire/with-server [{:keys [port]}
                     #(server/as-channel % {:on-open    (fn [ch] (dotimes [n 100] (server/send! ch (str "open " n))))
                                            :on-receive (fn [ch message]
                                                          (dotimes [n 100] (server/send! ch (str message " " n))))})
                     {}]
    (let [conn (wire/upgrade port)]
      (is (= (for [n (range 100)] [:text (str "open " n)]) (repeatedly 100 #(frames/receive! conn))))
      (send-frames! conn [:text "a"] [:text "b"])
      (is (= (for [m ["a" "b"] n (range 100)] [:text (str m " " n)]) (repeatedly 200 #(frames/receive! conn))))
      (wire/disconnect conn))))

(deftest what-a-callback-sends-to-a-peer-that-reads-is-never-too-much
  (doseq [kind [:http :websocket] policy [:close :block :reject] broadcast? [false true]
          :when (not (and broadcast? (= :block policy)))]
    (let [sent (promise) text (apply str (repeat 100 \x))
          send (fn [ch] (if broadcast? (= 1 (server/broadcast! [ch] text)) (server/send! ch text false)))]
      (wire/with-server [{:keys [port]}
                         #(server/as-channel % {:max-pending-bytes 300 :on-overflow policy
                                                :on-open (fn [ch]
                                                           (when (= kind :http) (server/send! ch nil false))
                                                           (deliver sent (frequencies (repeatedly 40 (fn [] (send ch)))))
                                                           (server/close ch))})
                         {}]
        (let [about (str kind policy broadcast?)
              got   (if (= kind :http)
                      (:chunks (wire/exchange port (wire/get-request "/")))
                      (let [conn (wire/upgrade port)
                            got  (doall (repeatedly 40 #(frames/receive! conn)))]
                        (wire/disconnect conn)
                        (map #(if (= [:text text] %) 100 %) got)))]
          (is (= {true 40} (wire/outcome sent)) about)
          (is (= (repeat 40 100) got) about))))))

(deftest two-sends-per-message-make-a-quick-round-trip
  (wire/with-server [{:keys [port]}
                     #(server/as-channel % {:on-receive (fn [ch message]
                                                          (server/send! ch (str message "1"))
                                                          (server/send! ch (str message "2")))})
                     {}]
    (let [conn  (wire/upgrade port)
          once  (fn []
                  (let [start (System/nanoTime)]
                    (send-frames! conn [:text "m"])
                    (is (= [[:text "m1"] [:text "m2"]] (repeatedly 2 #(frames/receive! conn))))
                    (/ (- (System/nanoTime) start) 1e6)))
          times (sort (drop 200 (doall (repeatedly 500 once))))]
      ;; Nagle's algorithm against delayed acknowledgements would make it more than 40.
      (is (< (double (nth times 150)) 10) "median, msecs; of a debug build on a busy machine")
      (wire/disconnect conn))))

(def ^:private bodies
  (vec (for [thread (range 8)] (str thread (apply str (repeat (* 37 (inc thread)) \x))))))

(deftest sends-of-many-threads-stay-whole
  (doseq [kind [:http :websocket]]
    (let [channel (promise)]
      (wire/with-server [{:keys [port]}
                         #(server/as-channel % {:on-open (fn [ch]
                                                           (when (= kind :http) (server/send! ch nil false))
                                                           (deliver channel ch))})
                         {}]
        (let [conn (if (= kind :http)
                     (doto (wire/connect port) (wire/write! (wire/get-request "/")))
                     (wire/upgrade port))
              ch   (wire/outcome channel)
              go   (CountDownLatch. 1)
              runs (mapv (fn [body] (future (.await go)
                                            (every? true? (repeatedly 500 #(server/send! ch body false)))))
                         bodies)
              _    (.countDown go)
              _    (when (= kind :http)
                     (future (run! wire/outcome runs) (server/close ch)))
              got  (if (= kind :http)
                     (let [{:keys [text chunks complete?]} (wire/read-answer! conn)]
                       (is complete?)
                       (first (reduce (fn [[seen at] size] [(conj seen (subs text at (+ at size))) (+ at size)]) [[] 0] chunks)))
                     (repeatedly (* 8 500) #(frames/receive! conn)))
              key  (fn [s] (if (= kind :http) s [:text (frames/summary (.getBytes ^String s))]))]
          (is (every? true? (map wire/outcome runs)))
          (is (= (zipmap (map key bodies) (repeat 500)) (frequencies got)) "one send, one chunk or frame")
          (wire/disconnect conn))))))

(deftest websocket-sends-take-what-the-contract-says
  (let [channel (promise)]
    (wire/with-server [{:keys [port]} #(server/as-channel % {:on-open (fn [ch] (deliver channel ch))}) {}]
      (let [conn (wire/upgrade port)
            ch   (wire/outcome channel)]
        (doseq [[data expected] [["text" [:text "text"]] ["" [:text ""]]
                                 [(.getBytes "bytes") [:binary "bytes"]] [(byte-array 0) [:binary ""]]
                                 [(java.io.ByteArrayInputStream. (.getBytes "stream")) [:binary "stream"]]
                                 [{:body "of a map" :status 500} [:text "of a map"]]
                                 [(Frame$PingFrame. (.getBytes "p")) [:ping "p"]]
                                 [(Frame$PongFrame. (.getBytes "q")) [:pong "q"]]]]
          (is (true? (server/send! ch data)))
          (is (= expected (frames/receive! conn))))
        (is (true? (server/send! ch nil)) "ignored")
        (doseq [data [42 [1 2] {} {:body nil} (java.nio.ByteBuffer/allocate 1) (Frame$PingFrame. (byte-array 126))]]
          (is (thrown? IllegalArgumentException (server/send! ch data))))
        (is (true? (server/send! ch "last" true)))
        (is (= [[:text "last"] [:close 1000 ""]] (repeatedly 2 #(frames/receive! conn))))
        (wire/disconnect conn)))))
