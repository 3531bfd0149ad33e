(ns httpkit.channel-life-test
  "The life of a channel: what it is, when it closes, and who hears why."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [httpkit.channel-wire :as wire]
            [httpkit.ws-wire :as frames]
            [org.httpkit.server :as server])
  (:import (java.net InetSocketAddress)
           (java.util.concurrent CountDownLatch)
           (org.httpkit.server AsyncChannel)))

(set! *warn-on-reflection* true)

(defn- send-frames! [conn & fs] (frames/send! conn fs nil))

(defn- run-cause
  "Keywords that on-close heard, of the only channel of a server, once there are some."
  [{:keys [on-open client opts]}]
  (let [heard  (atom [])
        opened (promise)]
    (wire/with-server [{:keys [port server]}
                       (fn [req]
                         (server/as-channel req {:on-open  (fn [ch]
                                                             (when on-open (on-open ch))
                                                             (deliver opened ch))
                                                 :on-close (fn [_ status] (swap! heard conj status))}))
                       (or opts {})]
      (client port server opened)
      (wire/eventually #(seq @heard)))
    ;; The server has stopped: nothing can come after.
    @heard))

(defn- http-client [leave]
  (fn [port _server opened]
    (let [conn (wire/connect port)]
      (wire/write! conn (wire/get-request "/"))
      (wire/outcome opened)
      (leave conn))))

(defn- ws-client [leave]
  (fn [port _server opened]
    (let [conn (wire/upgrade port)]
      (wire/outcome opened)
      (leave conn))))

(def ^:private streaming #(server/send! % "first" false))

(def ^:private causes
  ;; about, expected, how
  [["one-shot answer" :server-close {:on-open #(server/send! % "x") :client (http-client wire/read-answer!)}]
   ["answer on 1.0" :server-close
    {:on-open #(server/send! % "x")
     :client  (fn [port _ _] (wire/exchange port "GET / HTTP/1.0\r\n\r\n"))}]
   ["answer to Connection: close" :server-close
    {:on-open #(server/send! % "x")
     :client  (fn [port _ _] (wire/exchange port (wire/get-request "/" "Connection: close")))}]
   ["end of a stream" :server-close
    {:on-open #(do (streaming %) (server/send! % "last" true)) :client (http-client wire/read-answer!)}]
   ["close of a stream" :server-close
    {:on-open #(do (streaming %) (server/close %)) :client (http-client wire/read-answer!)}]
   ["close before anything" :server-close {:on-open server/close :client (http-client wire/read-answer!)}]
   ["client closes while held" :client-close {:client (http-client wire/disconnect)}]
   ["client resets while held" :client-close {:client (http-client wire/reset)}]
   ["client ends its side while held" :client-close {:client (http-client wire/half-close)}]
   ["client closes in a stream" :client-close
    {:on-open streaming :client (http-client #(do (wire/read-head! %) (wire/disconnect %)))}]
   ["client resets in a stream" :client-close
    {:on-open streaming :client (http-client #(do (wire/read-head! %) (wire/reset %)))}]
   ["client ends its side in a stream" :client-close
    {:on-open streaming :client (http-client #(do (wire/read-head! %) (wire/half-close %)))}]
   ["server stops, held" :client-close
    {:client (fn [port server opened]
               (wire/write! (wire/connect port) (wire/get-request "/"))
               (wire/outcome opened)
               @(server/server-stop! server))}]
   ["bad handshake" :server-close
    {:client (fn [port _ _] (wire/exchange port (wire/get-request "/" "Upgrade: websocket")))}]
   ["WebSocket: close 1000" :normal {:client (ws-client #(send-frames! % [:close 1000]))}]
   ["WebSocket: close without code" :no-status-received {:client (ws-client #(send-frames! % [:close]))}]
   ["WebSocket: close 1001" :going-away {:client (ws-client #(send-frames! % [:close 1001 "bye"]))}]
   ["WebSocket: close 1003" :unsupported {:client (ws-client #(send-frames! % [:close 1003]))}]
   ["WebSocket: close 1008" :policy-violation {:client (ws-client #(send-frames! % [:close 1008]))}]
   ["WebSocket: close 1010" :mandatory-extension {:client (ws-client #(send-frames! % [:close 1010]))}]
   ["WebSocket: close 1011" :internal-server-error {:client (ws-client #(send-frames! % [:close 1011]))}]
   ["WebSocket: close 4000" :unknown {:client (ws-client #(send-frames! % [:close 4000]))}]
   ["WebSocket: TCP closes" :going-away {:client (ws-client wire/disconnect)}]
   ["WebSocket: TCP resets" :going-away {:client (ws-client wire/reset)}]
   ["WebSocket: client ends its side" :going-away {:client (ws-client wire/half-close)}]
   ["WebSocket: reserved bits" :protocol-error {:client (ws-client #(send-frames! % [:text "x" {:rsv 4}]))}]
   ["WebSocket: bad UTF-8" :invalid-payload-data {:client (ws-client #(send-frames! % [:text {:hex "ff"}]))}]
   ["WebSocket: too big" :message-too-big
    {:opts {:max-ws 10} :client (ws-client #(send-frames! % [:text "12345678901"]))}]
   ["WebSocket: server closes" :server-close {:on-open server/close :client (ws-client frames/receive!)}]
   ["WebSocket: close after send" :server-close
    {:on-open #(server/send! % "bye" true) :client (ws-client frames/receive!)}]
   ["WebSocket: server stops" :server-close
    {:client (fn [port server opened]
               (wire/upgrade port)
               (wire/outcome opened)
               @(server/server-stop! server))}]])

(deftest on-close-runs-once-with-the-right-keyword
  (doseq [[about expected how] causes]
    (is (= [expected] (run-cause how)) about)))

(deftest abort-cuts-the-connection-and-on-close-runs-once
  (doseq [[about on-open client]
          [["held"      nil       (http-client identity)]
           ["streaming" streaming (http-client identity)]
           ["WebSocket" nil       (ws-client identity)]]]
    (let [conns (atom [])
          heard (run-cause {:on-open on-open
                            :client  (fn [port server opened]
                                       (swap! conns conj (client port server opened))
                                       (let [^AsyncChannel ch (wire/outcome opened)]
                                         (is (true? (.abort ch)))
                                         (is (false? (.abort ch)))
                                         (is (false? (server/open? ch)))
                                         (is (false? (server/send! ch "late")))))})]
      (is (= 1 (count heard)) about)
      (doseq [conn @conns]
        (loop [] ; what was sent before is skipped
          (when-not (wire/ended? conn) (recur)))))))

(deftest a-returned-map-closes-the-channel-of-its-request
  (let [seen (atom []) heard (atom [])]
    (wire/with-server [{:keys [port]}
                       (fn [{ch :async-channel}]
                         (server/on-close ch #(swap! heard conj %))
                         (swap! seen conj ch)
                         {:status 200 :body "map"})
                       {}]
      (let [conn (wire/connect port)]
        (dotimes [n 3]
          (wire/write! conn (wire/get-request "/"))
          (is (= "map" (:text (wire/read-answer! conn))))
          (doseq [ch @seen]
            (is (false? (server/open? ch)))
            (is (false? (server/send! ch "late")) "writes nothing: the next answer is the next thing that comes")
            (is (false? (server/close ch))))
          (is (= (inc n) (count (distinct @seen))) "a channel of its own for each request"))
        (is (= [:server-close :server-close :server-close] @heard))))))

(deftest an-on-close-that-throws-does-not-lose-the-answer
  (wire/with-server [{:keys [port errors]}
                     (fn [{ch :async-channel}]
                       (server/on-close ch (fn [_] (throw (ex-info "on-close failed" {}))))
                       {:status 200 :body "map"})
                     {}]
    (let [conn (wire/connect port)]
      (dotimes [_ 2]
        (wire/write! conn (wire/get-request "/"))
        (is (= [200 "map"] ((juxt :status :text) (wire/read-answer! conn)))))
      (is (= ["on-close failed" "on-close failed"] (map (comp ex-message second) @errors))))))

(deftest an-on-close-that-throws-because-the-client-left-is-logged
  (let [opened (promise)]
    (wire/with-server [{:keys [port errors]}
                       #(server/as-channel % {:on-open  (fn [ch] (deliver opened ch))
                                              :on-close (fn [_ _] (throw (ex-info "on-close failed" {})))})
                       {}]
      (let [conn (wire/connect port)]
        (wire/write! conn (wire/get-request "/"))
        (wire/outcome opened)
        (wire/disconnect conn)
        (is (wire/eventually #(= [["on close handler" "on-close failed"]]
                                 (map (fn [[msg t]] [msg (ex-message t)]) @errors))))))))

(deftest on-close-runs-also-when-on-open-fails-because-the-peer-has-left
  (let [heard (atom []) left (promise)]
    (wire/with-server [{:keys [port]}
                       #(server/as-channel % {:on-open  (fn [ch]
                                                          (wire/outcome left)
                                                          (wire/eventually (fn [] (not (server/open? ch))))
                                                          (throw (ex-info "on-open failed" {})))
                                              :on-close (fn [_ status] (swap! heard conj status))})
                       {}]
      (let [conn (wire/connect port)]
        (wire/write! conn (wire/get-request "/"))
        (wire/disconnect conn)
        (deliver left true)
        (is (wire/eventually #(seq @heard)))))
    (is (= [:client-close] @heard))))

(deftest a-handler-that-still-runs-hears-of-a-client-that-leaves
  (doseq [[about leave] {"disconnect" wire/disconnect, "reset" wire/reset, "half-close" wire/half-close}]
    (let [running (promise) heard (promise)]
      (wire/with-server [{:keys [port]}
                         (fn [{ch :async-channel}]
                           (server/on-close ch #(deliver heard %))
                           (deliver running true)
                           (wire/outcome heard)
                           {:body "too late"})
                         {}]
        (let [conn (wire/connect port)]
          (wire/write! conn (wire/get-request "/"))
          (is (true? (wire/outcome running)))
          (leave conn)
          (is (= :client-close (wire/outcome heard)) about)
          (wire/disconnect conn)))))
  (testing "or sees it when it asks"
    (let [running (promise) seen (promise)]
      (wire/with-server [{:keys [port]}
                         (fn [{ch :async-channel}]
                           (deliver running (server/open? ch))
                           (deliver seen (wire/eventually #(not (server/open? ch))))
                           {:body "too late"})
                         {}]
        (let [conn (wire/connect port)]
          (wire/write! conn (wire/get-request "/"))
          (is (true? (wire/outcome running)))
          (wire/disconnect conn)
          (is (true? (wire/outcome seen))))))))

(deftest a-late-send-on-a-closed-channel-writes-nothing
  (let [channels (atom [])]
    (wire/with-server [{:keys [port]}
                       #(server/as-channel % {:on-open (fn [ch]
                                                         (swap! channels conj ch)
                                                         (server/send! ch (str (count @channels))))})
                       {}]
      (let [conn (wire/connect port)]
        (doseq [n (range 1 20)]
          (wire/write! conn (wire/get-request "/"))
          (is (= (str n) (:text (wire/read-answer! conn))))
          (is (not-any? #(server/send! % "stray") @channels))
          (is (not-any? server/close @channels)))
        (is (= 19 (count (distinct @channels))))))))

(deftest a-handler-set-after-the-closing-is-called-at-once
  (doseq [[about expected how] (filter #(#{"one-shot answer" "client closes while held" "WebSocket: close 1001"
                                           "WebSocket: server closes"} (first %))
                                       causes)]
    (let [channel (atom nil)]
      (run-cause (update how :on-open (fn [on-open] (fn [ch] (reset! channel ch) (when on-open (on-open ch))))))
      (let [heard (atom [])]
        (is (thrown? IllegalStateException (server/on-close @channel #(swap! heard conj %)))
            "it was set, and stays set")
        (.setCloseRingHandler ^AsyncChannel @channel (fn [code reason] (swap! heard conj [code reason])))
        (is (= 1 (count @heard)) about))
      (is (some? expected))))
  (wire/with-server [{:keys [port]}
                     (fn [{ch :async-channel}]
                       (server/send! ch "answered")
                       (let [heard (atom [])]
                         (server/on-close ch #(swap! heard conj [% (Thread/currentThread)]))
                         (is (= [[:server-close (Thread/currentThread)]] @heard)))
                       {:body ch})
                     {}]
    (is (= "answered" (:text (wire/exchange port (wire/get-request "/")))))))

(deftest handlers-can-be-set-once
  (wire/with-server [{:keys [port]}
                     (fn [{^AsyncChannel ch :async-channel}]
                       (doseq [setter [#(server/on-receive ch identity) #(server/on-ping ch identity)
                                       #(server/on-close ch identity)
                                       #(.setPongHandler ch identity)
                                       #(.setCloseRingHandler ch (fn [_ _]))]]
                         (setter)
                         (is (thrown? IllegalStateException (setter))))
                       (is (.hasCloseHandler ch))
                       (server/send! ch "done")
                       {:body ch})
                     {}]
    (is (= "done" (:text (wire/exchange port (wire/get-request "/")))))))

(deftest a-close-handler-set-while-the-channel-closes-runs-once
  (let [opened (atom nil)]
    (wire/with-server [{:keys [port]} #(server/as-channel % {:on-open (fn [ch] (deliver @opened ch))}) {}]
      (dotimes [_ 400]
        (reset! opened (promise))
        (let [conn (wire/connect port)]
          (wire/write! conn (wire/get-request "/"))
          (let [ch    (wire/outcome @opened)
                heard (atom 0)
                go    (CountDownLatch. 1)
                both  [(future (.await go) (server/on-close ch (fn [_] (swap! heard inc))))
                       (future (.await go) (server/close ch))]]
            (.countDown go)
            (run! wire/outcome both)
            (wire/read-answer! conn)
            (is (= 1 @heard)))
          (wire/disconnect conn))))))

(deftest sends-and-closes-of-eight-threads-agree
  (doseq [kind [:http :websocket]]
    (let [opened (atom nil) heard (atom [])]
      (wire/with-server [{:keys [port]}
                         #(server/as-channel % {:on-open  (fn [ch]
                                                            (when (= kind :http) (server/send! ch "" false))
                                                            (deliver @opened ch))
                                                :on-close (fn [_ status] (swap! heard conj status))})
                         {}]
        (dotimes [_ 40]
          (reset! opened (promise))
          (reset! heard [])
          (let [conn (if (= kind :http)
                       (doto (wire/connect port) (wire/write! (wire/get-request "/")))
                       (wire/upgrade port))
                ch   (wire/outcome @opened)
                go   (CountDownLatch. 1)
                runs (vec (for [n (range 8)]
                            (future (.await go)
                                    (if (< n 2)
                                      {:closed (server/close ch)}
                                      {:sent (count (take-while true? (repeatedly 30 #(server/send! ch "0123456789" false))))}))))]
            (.countDown go)
            (let [outcomes (map wire/outcome runs)
                  sent     (reduce + (keep :sent outcomes))]
              (is (= 1 (count (filter :closed outcomes))) "one call closed it")
              (is (= [:server-close] @heard))
              (is (= sent
                     (if (= kind :http)
                       (let [answer (wire/read-answer! conn)]
                         (is (:complete? answer))
                         (quot (count (:text answer)) 10))
                       (count (take-while #(= [:text "0123456789"] %) (repeatedly #(frames/receive! conn))))))
                  "what was accepted before the close arrives, nothing else"))
            (wire/disconnect conn)))))))

(deftest as-channel-works-on-any-thread
  (wire/with-server [{:keys [port]}
                     (fn [req]
                       (let [answer (promise)]
                         (.start (Thread. #(deliver answer (server/as-channel req {:on-open (fn [ch] (server/send! ch "from a thread"))}))))
                         (wire/outcome answer)))
                     {}]
    (is (= "from a thread" (:text (wire/exchange port (wire/get-request "/")))))))

(deftest a-channel-tells-its-addresses-as-long-as-it-is-kept
  (let [channel (promise)]
    (wire/with-server [{:keys [port]} #(server/as-channel % {:on-open (fn [ch] (deliver channel ch) (server/send! ch "x"))}) {}]
      (let [conn (wire/connect port)]
        (wire/write! conn (wire/get-request "/"))
        (wire/read-answer! conn)
        (let [local          (.getLocalPort ^java.net.Socket (:socket conn))
              ^AsyncChannel ch (wire/outcome channel)]
          (is (= (InetSocketAddress. "127.0.0.1" local) (.remoteAddress ch)))
          (is (= (str "/127.0.0.1:" port "<->/127.0.0.1:" local) (str ch)))
          (is (str/includes? (pr-str ch) (str ch)) "prints without harm"))
        (wire/disconnect conn)))
    (is (str/includes? (str (wire/outcome channel)) "<->") "also after the server's end")))

(defprotocol Named (name-of [this]))

(extend-type AsyncChannel
  Named
  (name-of [ch] (str "channel " (server/websocket? ch))))

(deftest users-extend-their-protocols-to-channels
  (wire/with-server [{:keys [port]} #(server/as-channel % {:on-open (fn [ch] (server/send! ch (name-of ch)))}) {}]
    (is (= "channel false" (:text (wire/exchange port (wire/get-request "/")))))))

(defrecord Recorded [log]
  server/Channel
  (open? [_] true)
  (close [_] (swap! log conj :close) true)
  (websocket? [_] false)
  (send! [this data] (server/send! this data true))
  (send! [_ data close?] (swap! log conj [data close?]) true)
  (on-receive [_ _] (swap! log conj :on-receive))
  (on-ping [_ _] (swap! log conj :on-ping))
  (on-close [_ _] (swap! log conj :on-close)))

(deftest users-channels-stand-in-for-ours
  (let [log     (atom [])
        mock    (->Recorded log)
        reified (reify server/Channel
                  (open? [_] true)
                  (on-close [_ callback] (callback :server-close))
                  (send! [_ data] (swap! log conj data) true))
        options {:on-open #(server/send! % "x") :on-close (fn [_ status] (swap! log conj status)) :init (fn [_] (swap! log conj :init))
                 :max-pending-bytes 10}]
    (is (= {:body mock} (server/as-channel {:async-channel mock} options)))
    (is (= [:init :on-close ["x" true]] @log))
    (reset! log [])
    (is (= {:body reified} (server/as-channel {:async-channel reified} options)))
    (is (= [:init :server-close "x"] @log))))

(deftest without-a-channel-there-is-no-answer
  (is (nil? (server/as-channel {:request-method :get} {:on-open (fn [_] (is false))}))))

#_{:clj-kondo/ignore [:unresolved-symbol :deprecated-var]}
(defn- old-style [req]
  (server/with-channel req ch
    (if (server/websocket? ch)
      (server/on-receive ch #(server/send! ch (str "echo " %)))
      (server/send! ch "plain"))))

(deftest with-channel-answers-both-kinds
  (wire/with-server [{:keys [port]} old-style {}]
    (is (= "plain" (:text (wire/exchange port (wire/get-request "/")))))
    (let [conn (wire/upgrade port)]
      (send-frames! conn [:text "a"])
      (is (= [:text "echo a"] (frames/receive! conn)))
      (wire/disconnect conn))
    (is (= 400 (:status (wire/exchange port (wire/get-request "/" "Upgrade: websocket")))))))

(deftest init-may-answer-and-is-then-all-that-runs
  (doseq [lines [[] ["Upgrade: websocket" "Connection: Upgrade" "Sec-WebSocket-Version: 13"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]]]
    (let [heard (atom [])]
      (wire/with-server [{:keys [port]}
                         #(server/as-channel % {:init     (fn [ch] (server/send! ch {:status 403 :body "no"}))
                                                :on-open  (fn [ch] (swap! heard conj [:open (server/open? ch)]))
                                                :on-close (fn [_ status] (swap! heard conj status))})
                         {}]
        (let [conn (wire/connect port)]
          (wire/write! conn (apply wire/get-request "/" lines))
          (is (= [403 "no"] ((juxt :status :text) (wire/read-answer! conn))))
          (when (seq lines)
            (is (wire/ended? conn) "no 101 follows"))
          ;; Set behind `:init`, it may be called after the answer has arrived.
          (is (wire/eventually #(some #{:server-close} @heard)))
          (is (not-any? #{[:open true]} @heard)))))))

(deftest sending-and-returning-a-map-answers-once
  (wire/with-server [{:keys [port]}
                     (fn [{ch :async-channel}] (server/send! ch "sent") {:status 200 :body "returned"}) {}]
    (let [conn (wire/connect port)]
      (dotimes [_ 3]
        (wire/write! conn (wire/get-request "/"))
        (is (= "sent" (:text (wire/read-answer! conn))))))))

(deftest messages-that-wait-are-delivered-after-a-server-side-close
  (let [log (atom []) go-on (promise) channel (promise)]
    (wire/with-server [{:keys [port]}
                       #(server/as-channel % {:on-open    (fn [ch] (deliver channel ch))
                                              :on-receive (fn [_ message] (wire/outcome go-on) (swap! log conj message))})
                       {}]
      (let [conn (wire/upgrade port)]
        (apply send-frames! conn (map #(vector :text (str %)) (range 20)))
        (send-frames! conn [:ping "sync"])
        (is (= [:pong "sync"] (frames/receive! conn)))
        (is (true? (server/close (wire/outcome channel))))
        (deliver go-on true)
        (is (wire/eventually #(= (mapv str (range 20)) @log)))
        (is (= [:close 1000 ""] (frames/receive! conn)))
        (wire/disconnect conn)))))
