(ns httpkit.unread-server
  "A server of large cached responses, in a process of its own; for peers that ask for them and do not read."
  (:require [org.httpkit.server :as server])
  (:import (java.nio ByteBuffer)
           (java.util Arrays)
           (java.util.concurrent.atomic AtomicInteger)
           (org.httpkit HeaderMap HttpUtils)
           (org.httpkit.server AsyncChannel Frame HttpRequest HttpServer IHandler ProxyProtocolOption RespCallback)))

(set! *warn-on-reflection* true)

(def size (* 8 1024 1024))

(def ^:private array (doto (byte-array size) (Arrays/fill (byte 97))))
(def ^:private text (String. ^bytes array "US-ASCII"))
(def ^:private noise
  "Text that cannot be compressed, for the most part."
  (delay (let [random (java.util.Random. 1)]
           (apply str (repeatedly 600000 #(char (+ 33 (.nextInt random 90))))))))
(def ^:private direct (delay (doto (ByteBuffer/allocateDirect size) (.put ^bytes array) (.flip))))

(defn- sending [req & messages]
  (server/as-channel req {:on-open (fn [ch] (doseq [message messages] (server/send! ch message false)))}))

(def ^:private ^AtomicInteger asked (AtomicInteger.))

(defn- handler [{:keys [uri] :as req}]
  (case uri
    "/asked"   {:body (str (.get asked))}
    (do
      (.incrementAndGet asked)
      (case uri
        "/bytes"   {:body array}
        "/string"  {:body text}
        "/buffer"  {:body (ByteBuffer/wrap array)}
        "/direct"  {:body (.asReadOnlyBuffer ^ByteBuffer @direct)}
        "/coded"   {:headers {"Content-Type" "text/plain"} :compression true :body @noise}
        "/coded-chunk" (sending req {:headers {"Content-Type" "text/plain"} :compression true :body "first"} @noise)
        "/chunks"  (sending req {:status 200 :body "first"} array)
        "/chunk"   (sending req {:status 200 :body array})
        "/ws"      (sending req array)
        "/ws-text" (sending req text)))))

(def ^:private embedded
  (reify IHandler
    (^void handle [_ ^HttpRequest request ^RespCallback callback]
      (.incrementAndGet asked)
      (.run callback (HttpUtils/HttpEncode 200 (HeaderMap.) (case (.uri request) "/bytes" array "/direct" (.duplicate ^ByteBuffer @direct)))))
    (^void handle [_ ^AsyncChannel _ ^Frame _])
    (clientClose [_ _ _])
    (close [_ _])))

(defn -main
  "Prints the ports of the Ring handler and of the `IHandler`."
  []
  (let [stop   (server/run-server handler {:port 0 :ip "127.0.0.1"})
        server (HttpServer. "127.0.0.1" 0 embedded 1000 1000 1000 ProxyProtocolOption/DISABLED)]
    (.start server)
    (println (:local-port (meta stop)) (.getPort server))
    (flush)))
