(ns httpkit.channel-java-test
  "`AsyncChannel` by its Java methods, as libraries call them."
  (:require [clojure.string  :as str]
            [clojure.test    :refer [are deftest is testing]]
            [httpkit.wire    :as wire]
            [httpkit.ws-wire :as ws]
            [org.httpkit.server :as server]
            [org.httpkit.topics :as topics])
  (:import (java.io ByteArrayOutputStream PrintStream)
           (java.util.concurrent Executors)
           (java.util.function Consumer)
           (org.httpkit.server AsyncChannel Frame$PingFrame Frame$PongFrame HttpServer RingHandler)))

(set! *warn-on-reflection* true)

(defn- handling
  "A Ring handler that calls `(f channel request)` and keeps the exchange."
  [f]
  (fn [{:keys [async-channel] :as req}]
    (f async-channel req)
    {:body async-channel}))

(defn- stderr-of
  "What `f` prints to standard error."
  [f]
  (let [old  System/err
        text (ByteArrayOutputStream.)]
    (System/setErr (PrintStream. text true))
    (try (f) (finally (System/setErr old)))
    (str text)))

(def ^:private upgrade
  "Headers that are enough for the tests' client, which checks the status only."
  {"Upgrade" "websocket" "Connection" "Upgrade"})

(deftest a-channel-of-no-connection-is-closed
  (let [channel (AsyncChannel. nil nil)]
    (is (.isClosed channel))
    (is (not (.isWebSocket channel)))
    (is (false? (.send channel "x" false)))
    (is (false? (.serverClose channel 1000)))
    (is (nil? (.sendHandshake channel upgrade)))
    (is (.isClosed channel))))

(deftest the-handlers-of-a-channel-of-no-connection-run
  (let [heard   (atom [])
        channel (AsyncChannel. nil nil)]
    (.setCloseHandler channel #(swap! heard conj %))
    (.setCloseRingHandler channel #(swap! heard conj [%1 %2]))
    (.onClose channel 1001)
    (.onClose channel 1000 "once")
    (is (= [:going-away [1001 ""]] @heard)))
  (let [heard   (promise)
        channel (AsyncChannel. nil nil)]
    (.setCloseHandler channel #(deliver heard %))
    (doto (RingHandler. identity false (Executors/newSingleThreadExecutor))
      (.clientClose channel 1000)
      (.close wire/patience-ms))
    (is (= :normal (deref heard wire/patience-ms nil)))))

(deftest exceptions-in-handlers-of-a-channel-of-no-connection-are-printed
  (let [channel (AsyncChannel. nil nil)]
    (.setReceiveHandler channel (fn [_] (throw (ex-info "broken handler" {}))))
    (is (re-find #"handle websocket frame TextFrame\[len=1\][\s\S]*broken handler"
                 (stderr-of #(.messageReceived channel "x"))))
    (is (.isClosed channel))))

(deftest a-channel-of-no-connection-takes-every-call
  (let [channel (AsyncChannel. nil nil)
        flushed (promise)]
    (.whenFlushed channel (reify Consumer (accept [_ written?] (deliver flushed written?))))
    (is (false? (deref flushed wire/patience-ms nil)))
    (is (false? (.compressesFile channel {:status 200} Long/MAX_VALUE)))
    (is (false? (.watchPeer channel)))
    (is (false? (.abort channel)))
    (is (= [0 nil "unknown<->unknown"] [(.pendingBytes channel) (.remoteAddress channel) (str channel)]))
    (is (false? (topics/subscribe! channel "t")))
    (is (zero? (topics/publish! channel "t" "x")))
    (is (false? (topics/unsubscribe! channel "t")))
    (is (zero? (server/broadcast! [channel] "x")))
    (is (nil? (server/on-body {:async-channel channel :body nil} (fn [_ _] (throw (ex-info "called" {}))))))
    (is (false? (server/send-informational! {:async-channel channel} 103 {"Link" "</a>"})))
    (is (= {:body channel} (server/as-channel {:async-channel channel} {:on-open #(server/send! % "x") :max-pending-bytes 9})))))

(deftest the-last-send-closes
  (let [heard (atom [])
        after (promise)]
    (wire/with-server [{:keys [port]}
                       (handling (fn [^AsyncChannel ch _]
                                   (is (not (.hasCloseHandler ch)))
                                   (.setCloseHandler ch #(swap! heard conj %))
                                   (.setCloseRingHandler ch #(swap! heard conj [%1 %2]))
                                   (is (.hasCloseHandler ch))
                                   (is (not (.isWebSocket ch)))
                                   (is (re-matches #"/127\.0\.0\.1:\d+<->/127\.0\.0\.1:\d+" (str ch)))
                                   (is (thrown? RuntimeException (.send ch 5 true)))
                                   (is (not (.isClosed ch)) "what cannot be sent leaves it open")
                                   (is (true? (.send ch "one" false)))
                                   (is (not (.get (.closedRan ch))))
                                   (is (true? (.send ch "two" true)))
                                   (deliver after [(.isClosed ch) (.send ch "three" false) (.send ch "four" true)
                                                   (.serverClose ch 1000) (.serverClose ch 1000 "again")
                                                   (.get (.closedRan ch))])))
                       {}]
      (is (= "onetwo" (:body (wire/fetch port "/"))))
      (is (= [true false false false false true] (deref after wire/patience-ms nil)))
      (is (= [:server-close [0 ""]] @heard)))))

(deftest closings-of-an-exchange-ignore-the-code
  (doseq [close [#(.serverClose ^AsyncChannel % 5) #(.serverClose ^AsyncChannel % 1000 "why")]]
    (let [heard (promise)]
      (wire/with-server [{:keys [port]}
                         (handling (fn [^AsyncChannel ch _]
                                     (.setCloseRingHandler ch #(deliver heard [%1 %2]))
                                     (.send ch {:status 202 :body "begun"} false)
                                     (is (true? (close ch)))))
                         {}]
        (is (= [202 "begun"] ((juxt :status :body) (wire/fetch port "/"))))
        (is (= [0 ""] (deref heard wire/patience-ms nil)))))))

(deftest handlers-run-by-hand-too
  (let [heard (atom [])]
    (wire/with-server [{:keys [port errors]}
                       (handling (fn [^AsyncChannel ch _]
                                   (.setReceiveHandler ch #(swap! heard conj %))
                                   (.setPingHandler ch #(swap! heard conj [:ping (count %)]))
                                   (.setPongHandler ch #(swap! heard conj [:pong (count %)]))
                                   (.setCloseHandler ch #(swap! heard conj %))
                                   (.messageReceived ch "a message")
                                   (.pingReceived ch (byte-array 1))
                                   (.pongReceived ch (byte-array 2))
                                   (.onClose ch 1001)
                                   (.onClose ch 1000 "once")
                                   (.setCloseRingHandler ch #(swap! heard conj [%1 %2]))
                                   (.send ch "still" true)))
                       {}]
      (is (= "still" (:body (wire/fetch port "/"))))
      (is (= ["a message" [:ping 1] [:pong 2] :going-away [1001 ""]] @heard))
      (is (empty? @errors)))))

(deftest websockets-by-hand
  (let [heard    (atom [])
        channel  (promise)]
    (wire/with-server [{:keys [port]}
                       (handling (fn [^AsyncChannel ch _]
                                   (is (.isWebSocket ch) "before the handshake")
                                   (.setReceiveHandler ch #(swap! heard conj %))
                                   (.setPingHandler ch #(swap! heard conj [:ping (String. ^bytes %)]))
                                   (.setPongHandler ch #(swap! heard conj [:pong (String. ^bytes %)]))
                                   (.setCloseRingHandler ch #(swap! heard conj [%1 %2]))
                                   (.sendHandshake ch upgrade)
                                   (deliver channel ch)))
                       {}]
      (let [web (ws/connect port wire/patience-ms)
            ^AsyncChannel ch (deref channel wire/patience-ms nil)]
        (is (.isWebSocket ch))
        (.send ch "text" false)
        (.send ch (.getBytes "bytes") false)
        (.send ch {:body "of a map"} false)
        (.send ch (java.io.ByteArrayInputStream. (.getBytes "stream")) false)
        (.send ch (Frame$PingFrame. (.getBytes "p")) false)
        (.send ch (Frame$PongFrame. (.getBytes "q")) false)
        (is (true? (.send ch nil false)))
        (is (= [[:text "text"] [:binary "bytes"] [:text "of a map"] [:binary "stream"] [:ping "p"] [:pong "q"]]
               (doall (repeatedly 6 #(ws/receive! web)))))
        (are [data] (thrown? IllegalArgumentException (.send ch data false))
          5, :k, [], {:status 200}, (Frame$PingFrame. (byte-array 126)))
        (are [code reason] (thrown? IllegalArgumentException (.serverClose ch code reason))
          0 "", 999 "", 1004 "", 1005 "", 1006 "", 1015 "", 5000 ""
          1000 (str/join (repeat 124 "x"))
          1000 (str/join (repeat 62 "é")))
        (is (not (.isClosed ch)) "what is refused leaves it open")
        (ws/send! web [[:text "in"] [:ping "P"] [:pong "Q"]] nil)
        (is (= [:pong "P"] (ws/receive! web)))
        (is (wire/eventually #(= ["in" [:ping "P"] [:pong "Q"]] @heard)))
        (is (true? (.serverClose ch 4999 (str/join (repeat 123 "x")))))
        (is (= [:close 4999 (str/join (repeat 123 "x"))] (ws/receive! web)))
        (is (= [4999 (str/join (repeat 123 "x"))] (last @heard)))
        (is (.isClosed ch))
        (ws/disconnect web)))))
