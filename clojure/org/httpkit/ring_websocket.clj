(ns ^:no-doc org.httpkit.ring-websocket
  "Ring's WebSocket API over a channel. Loaded by `org.httpkit.server.config` when
  Ring's protocols are on the classpath. Not API."
  (:require
   [org.httpkit.handshake :as handshake]
   [org.httpkit.options :as options]
   [ring.websocket.protocols :as ws])
  (:import
   [java.nio ByteBuffer]
   [java.util Map]
   [java.util.function Consumer]
   [org.httpkit.server AsyncChannel Frame$PingFrame Frame$PongFrame]))

(set! *warn-on-reflection* true)

(defn- take-bytes ^bytes [^ByteBuffer buffer]
  (let [bytes (byte-array (.remaining buffer))]
    (.get buffer bytes)
    bytes))

(defn- payload [message]
  (if (instance? CharSequence message)
    (str message)
    (take-bytes message)))

(defn- closed [] (java.io.IOException. "The WebSocket is closed"))

(defn- send-async! [^AsyncChannel ch message succeed fail]
  (if-let [error (try (when-not (.send ch (payload message) false) (closed))
                      (catch Throwable t t))]
    (fail error)
    (.whenFlushed ch (reify Consumer
                       (accept [_ written?] (if written? (succeed) (fail (closed))))))))

(defn- socket [^AsyncChannel ch]
  (reify
    ws/Socket
    (-open? [_]             (not (.isClosed ch)))
    (-send  [_ message]     (.send ch (payload message) false))
    (-ping  [_ data]        (.send ch (Frame$PingFrame. (take-bytes data)) false))
    (-pong  [_ data]        (.send ch (Frame$PongFrame. (take-bytes data)) false))
    (-close [_ code reason] (.serverClose ch (int code) reason))

    ws/AsyncSocket
    (-send-async [_ message succeed fail] (send-async! ch message succeed fail))))

(defn- reporting
  "Runs `f`; reports its exception to the listener, before it is logged."
  [listener socket f]
  (try
    (f)
    (catch Throwable t
      (ws/on-error listener socket t)
      (throw t))))

(defn- message [received]
  (if (string? received) received (ByteBuffer/wrap received)))

(defn- listen! [^AsyncChannel ch listener socket]
  (let [report #(reporting listener socket %)]
    (.setReceiveHandler ch
      (fn [received] (report #(ws/on-message listener socket (message received)))))
    (.setPongHandler ch
      (fn [data] (report #(ws/on-pong listener socket (ByteBuffer/wrap data)))))
    (when (satisfies? ws/PingListener listener)
      (.setPingHandler ch
        (fn [data] (report #(ws/on-ping listener socket (ByteBuffer/wrap data)))))
      (.answerPingsByHandler ch))
    (.setCloseRingHandler ch
      (fn [code reason] (report #(ws/on-close listener socket code reason))))))

(defn- check-listener [listener]
  (when-not (satisfies? ws/Listener listener)
    (options/refuse! "a " (.getName (class listener)) " is no Ring WebSocket listener"
      (when (map? listener) ": a map is one only after ring.websocket has been loaded"))))

(defn upgrade
  "Returns the response to send instead of `response`: the channel if it is a
  WebSocket response to a valid handshake, 400 if the handshake is invalid."
  [request response]
  (if-let [listener (when (instance? Map response) (:ring.websocket/listener response))]
    (if-let [accept (handshake/check request)]
      (let [ch       ^AsyncChannel (:async-channel request)
            protocol (:ring.websocket/protocol response)
            socket   (socket ch)]
        (check-listener listener)
        (.watchPeer ch)
        (.beginOpening ch)
        (try
          (listen! ch listener socket)
          (.sendHandshake ch (handshake/headers accept protocol nil))
          (when-not (.get (.closedRan ch)) ; the handshake got 400: its body is on its way
            (reporting listener socket #(ws/on-open listener socket)))
          (finally (.endOpening ch)))
        {:body ch})
      (handshake/rejection request "Bad Sec-WebSocket-Key header"))
    response))
