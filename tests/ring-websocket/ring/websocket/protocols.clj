(ns ring.websocket.protocols
  "Stand-in for the namespace of the same name in ring-websocket-protocols:
  the protocols of Ring's WebSocket specification, nothing else. For tests
  only; applications bring the real one.")

(defprotocol Listener
  "Events of one WebSocket."
  (on-open [listener socket] "The socket is open.")
  (on-message [listener socket message] "A message: a String or a java.nio.ByteBuffer.")
  (on-pong [listener socket data] "A pong; `data` is a java.nio.ByteBuffer.")
  (on-error [listener socket throwable] "Something failed.")
  (on-close [listener socket code reason] "The socket is closed."))

(defprotocol PingListener
  "Listeners that answer pings themselves."
  (on-ping [listener socket data] "A ping; `data` is a java.nio.ByteBuffer."))

(defprotocol Socket
  "One WebSocket, as a listener uses it."
  (-open? [socket])
  (-send [socket message])
  (-ping [socket data])
  (-pong [socket data])
  (-close [socket code reason]))

(defprotocol AsyncSocket
  "Sockets that can send without blocking."
  (-send-async [socket message succeed fail]
    "Calls `succeed` with nothing, or `fail` with a throwable."))
