(ns httpkit.golden.conn
  "A raw TCP connection to the server under test: writes bytes values, collects
  everything that comes back, knows how long it has been quiet."
  (:refer-clojure :exclude [reset!])
  (:require [httpkit.golden.bytes :as bytes]
            [httpkit.tls-certs :as certs])
  (:import [java.io ByteArrayOutputStream IOException InputStream]
           [java.net InetAddress InetSocketAddress Socket]
           [javax.net.ssl SSLContext SSLSocket]))

(set! *warn-on-reflection* true)

(def tls?
  "Whether connections are over TLS: the cases are then played to a server's TLS port."
  (atom false))

(def ^:private context (delay (certs/context)))

(defn- secured ^Socket [^Socket socket]
  (doto ^SSLSocket (.createSocket (.getSocketFactory ^SSLContext @context) socket nil (.getPort socket) true)
    (.startHandshake)))

(defn- collect! [^InputStream in ^ByteArrayOutputStream received state]
  (let [chunk (byte-array 65536)]
    (loop []
      (let [n (try (.read in chunk) (catch IOException _ -1))]
        (if (neg? n)
          (swap! state assoc :eof true :at (System/nanoTime))
          (do (locking received (.write received chunk 0 n))
              (swap! state assoc :at (System/nanoTime))
              (recur)))))))

(defn- daemon [^String name f]
  (doto (Thread. ^Runnable f name) (.setDaemon true) .start))

(defn open
  "Connects to 127.0.0.1:`port`, TCP_NODELAY on, and starts collecting."
  [port]
  (let [plain (doto (Socket.)
                (.setTcpNoDelay true)
                (.connect (InetSocketAddress. (InetAddress/getByName "127.0.0.1") (int port)) 5000))
        ^Socket socket (if @tls? (secured plain) plain)
        received (ByteArrayOutputStream.)
        state (atom {:eof false :at (System/nanoTime)})]
    (daemon "golden-reader" #(collect! (.getInputStream socket) received state))
    {:socket socket :received received :state state}))

(defn received
  "All bytes that have arrived so far."
  ^bytes [{:keys [^ByteArrayOutputStream received]}]
  (locking received (.toByteArray received)))

(defn send!
  "Writes the bytes value `b`. A peer that has closed is no error: the case's
  outcome says whether it should have."
  [{:keys [^Socket socket]} b]
  (try (bytes/write! (.getOutputStream socket) b)
       (catch IOException _ nil)))

(defn closed?
  "Whether the peer has ended the connection, by FIN or RST."
  [{:keys [state]}]
  (:eof @state))

(defn quiet?
  "Whether nothing has arrived (byte, end of stream) for `ms` milliseconds, nor
  since `from`, a `System/nanoTime` before which silence does not count."
  [{:keys [state]} from ms]
  (<= (* 1000000 (long ms))
      (- (System/nanoTime) (max (long from) (long (:at @state))))))

(defn wait-until
  "Polls `done?` until it holds; false after `ms` milliseconds."
  [ms done?]
  (let [deadline (+ (System/nanoTime) (* 1000000 (long ms)))]
    (loop []
      (cond
        (done?) true
        (< deadline (System/nanoTime)) false
        :else (do (Thread/sleep 10) (recur))))))

(defn half-close! [{:keys [^Socket socket]}]
  (try (.shutdownOutput socket) (catch IOException _ nil)))

(defn close! [{:keys [^Socket socket]}]
  (try (.close socket) (catch IOException _ nil)))

(defn reset!
  "Closes with RST instead of FIN."
  [{:keys [^Socket socket] :as conn}]
  (try (.setSoLinger socket true 0) (catch IOException _ nil))
  (close! conn))
