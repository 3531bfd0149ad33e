(ns ring.websocket
  "Stand-in for ring-core's namespace of the same name, from Ring's public
  WebSocket specification. For tests only.

  Extends Listener and PingListener to maps: the keys are the names of the
  methods as keywords. A map without `:on-ping` pongs with the ping's data."
  (:refer-clojure :exclude [send])
  (:require [ring.websocket.protocols :as p])
  (:import [clojure.lang IPersistentMap]
           [java.nio ByteBuffer]))

(set! *warn-on-reflection* true)

(extend-type IPersistentMap
  p/Listener
  (on-open [m socket] (when-let [f (:on-open m)] (f socket)))
  (on-message [m socket message] (when-let [f (:on-message m)] (f socket message)))
  (on-pong [m socket data] (when-let [f (:on-pong m)] (f socket data)))
  (on-error [m socket throwable] (when-let [f (:on-error m)] (f socket throwable)))
  (on-close [m socket code reason] (when-let [f (:on-close m)] (f socket code reason)))
  p/PingListener
  (on-ping [m socket data]
    (if-let [f (:on-ping m)] (f socket data) (p/-pong socket data))))

(defn- encoded
  "A message as sockets take it: String or ByteBuffer."
  [message]
  (cond
    (instance? CharSequence message) (str message)
    (bytes? message) (ByteBuffer/wrap ^bytes message)
    :else message))

(defn open?
  "True if the socket is open."
  [socket]
  (p/-open? socket))

(defn send
  "Sends text (CharSequence) or binary (byte[], ByteBuffer). With callbacks:
  asynchronously, then one of them is called."
  ([socket message] (p/-send socket (encoded message)))
  ([socket message succeed fail] (p/-send-async socket (encoded message) succeed fail)))

(defn ping
  "Sends a ping; `data` is a ByteBuffer, empty by default."
  ([socket] (ping socket (ByteBuffer/allocate 0)))
  ([socket data] (p/-ping socket data)))

(defn pong
  "Sends a pong; `data` is a ByteBuffer, empty by default."
  ([socket] (pong socket (ByteBuffer/allocate 0)))
  ([socket data] (p/-pong socket data)))

(defn close
  "Closes the socket, by default with code 1000 and an empty reason."
  ([socket] (close socket 1000 ""))
  ([socket code] (close socket code ""))
  ([socket code reason] (p/-close socket code reason)))
