(ns httpkit.wire
  "An HTTP/1.1 client that tidies nothing, and servers to talk to.

  A connection writes what it is given and reads answers one by one:
    (with-open [conn (connect port)]
      (send! conn \"GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n\")
      (answer conn))                     ; {:status 200 :headers {\"server\" \"http-kit\"} :body \"...\"}

  Reads wait `patience-ms`, like `eventually`: long enough for a busy machine."
  (:require [clojure.string     :as str]
            [httpkit.scheme     :as scheme]
            [org.httpkit.server :as server])
  (:import (java.io BufferedInputStream ByteArrayInputStream ByteArrayOutputStream Closeable IOException InputStream OutputStream)
           (java.net InetAddress InetSocketAddress ServerSocket Socket SocketTimeoutException)))

(set! *warn-on-reflection* true)

(def patience-ms 30000)

(defn eventually
  "Waits until `(f)` is truthy and returns it; false when that takes longer than `patience-ms`."
  ([f] (eventually patience-ms f))
  ([ms f]
   (let [deadline (+ (System/nanoTime) (* 1000000 (long ms)))]
     (loop []
       (or (f)
           (if (< (System/nanoTime) deadline)
             (do (Thread/sleep 5) (recur))
             false))))))

(defn spin-until
  "Occupies this thread until `(f)`, for at most ten seconds, as one that does not mind interrupts."
  [f]
  (let [end (+ (System/nanoTime) 10000000000)]
    (while (and (not (f)) (< (System/nanoTime) end))
      (Thread/onSpinWait))))

(defn settled
  "Waits until `(f)`, such as a count, is the same after `pause-ms` and returns it; false when that takes longer than
  `patience-ms`."
  [pause-ms f]
  (eventually #(let [before (f)]
                 (Thread/sleep (long pause-ms))
                 (when (= before (f)) before))))

(defn latin1 ^bytes [^String text] (.getBytes text "ISO-8859-1"))

(defn- ->bytes ^bytes [data]
  (if (string? data) (latin1 data) data))

(defn in-pieces
  "A stream of these bytes that gives up to `n` of them per read."
  ^InputStream [^bytes bytes n]
  (let [all (ByteArrayInputStream. bytes)]
    (proxy [InputStream] []
      (read
        ([] (.read all))
        ([into] (.read all into 0 (min (int n) (alength ^bytes into))))
        ([into at length] (.read all into (int at) (min (int n) (int length))))))))

;; Connections

(defrecord Conn [^Socket socket ^InputStream in ^OutputStream out]
  Closeable
  (close [_] (.close socket)))

(defn wrap
  "A connection over an open socket, with TLS if that is the scheme."
  [^Socket plain]
  (.setSoTimeout plain patience-ms)
  (.setTcpNoDelay plain true)
  (let [socket (scheme/secure plain)]
    (->Conn socket (BufferedInputStream. (.getInputStream socket) 65536) (.getOutputStream socket))))

(defn connect
  "Connects to `port` on `host`, default 127.0.0.1."
  (^Closeable [port] (connect "127.0.0.1" port))
  (^Closeable [^String host port]
   (wrap (doto (Socket.)
           (.connect (InetSocketAddress. (InetAddress/getByName host) (int port)) (int patience-ms))))))

(defn send!
  "Writes strings (as ISO-8859-1) and byte arrays. Returns false when the peer has closed."
  [{:keys [^OutputStream out]} & data]
  (try (doseq [d data] (.write out (->bytes d)))
       (.flush out)
       true
       (catch IOException _ false)))

(defn half-close! [{:keys [^Socket socket]}] (.shutdownOutput socket))

(defn reset!!
  "Closes with RST."
  [{:keys [socket]}]
  (scheme/reset!! socket))

(defn read-byte
  "The next byte, -1 at the end or after a reset. Throws SocketTimeoutException when none comes."
  ^long [{:keys [^InputStream in]}]
  (try (.read in)
       (catch SocketTimeoutException e (throw e))
       (catch IOException _ -1)))

(defn closed?
  "Waits for the server to end the connection; false if it says something instead."
  [conn]
  (neg? (read-byte conn)))

(defn silent?
  "Whether nothing arrives, not even the end, for `ms`."
  [{:keys [^Socket socket] :as conn} ms]
  (.setSoTimeout socket (int ms))
  (try (read-byte conn) false
       (catch SocketTimeoutException _ true)
       (finally (.setSoTimeout socket patience-ms))))

(defn read-line!
  "The next line without its CRLF; nil at the end."
  [conn]
  (let [line (ByteArrayOutputStream.)]
    (loop [b (read-byte conn)]
      (cond
        (neg? b) (when (pos? (.size line)) (.toString line "ISO-8859-1"))
        (= 10 b) (str/replace (.toString line "ISO-8859-1") #"\r$" "")
        :else (do (.write line (int b)) (recur (read-byte conn)))))))

(defn read-exactly
  "The next `n` bytes; throws if the connection ends before."
  ^bytes [{:keys [^InputStream in]} n]
  (let [^bytes bytes (try (.readNBytes in (int n))
                            (catch SocketTimeoutException e (throw e))
                            (catch IOException _ (byte-array 0)))]
    (when (< (alength bytes) (long n))
      (throw (ex-info "the connection ended within an answer" {:type ::truncated, :wanted n, :got (alength bytes)})))
    bytes))

(defn read-rest
  "Everything until the end, as a string."
  [{:keys [^InputStream in]}]
  (let [out (ByteArrayOutputStream.)]
    (try (.transferTo in out) (catch IOException _ nil))
    (.toString out "ISO-8859-1")))

(defn read-chunks
  "The chunks of a body, as strings; ends with :truncated if the last one is missing."
  [conn]
  (loop [chunks []]
    (let [size (some-> (read-line! conn) (Long/parseLong 16))]
      (cond
        (nil? size)  (conj chunks :truncated)
        (zero? size) (do (while (not= "" (read-line! conn))) chunks)
        :else        (let [chunk (String. (read-exactly conn size) "ISO-8859-1")]
                       (read-line! conn)
                       (recur (conj chunks chunk)))))))

(defn- whole [chunks]
  (when (= :truncated (peek chunks))
    (throw (ex-info "the connection ended within an answer" {:type ::truncated})))
  (str/join chunks))

(defn read-head
  "{:status int, :headers map of lower-case names} or :closed."
  [conn]
  (if-let [status-line (read-line! conn)]
    (let [lines (doall (take-while #(not= "" %) (repeatedly #(or (read-line! conn) ""))))]
      {:status  (Long/parseLong (second (str/split status-line #" ")))
       :headers (reduce (fn [m line]
                          (let [[k v] (str/split line #":\s*" 2)
                                k     (.toLowerCase ^String k java.util.Locale/ROOT)]
                            (assoc m k (if (m k) (str (m k) ", " v) v))))
                        {} lines)})
    :closed))

(defn answer
  "The next answer, `:closed` if the connection has ended; throws if it ends within. `:head?`: it answers
  a HEAD request. `:raw?`: its body as a byte array."
  [conn & {:keys [head? raw?]}]
  (let [{:keys [status headers] :as head} (read-head conn)]
    (if (= :closed head)
      head
      (assoc head :body
             (cond
               (or head? (< status 200) (#{204 304} status)) ""
               (headers "transfer-encoding") (whole (read-chunks conn))
               (headers "content-length")
               (let [body (read-exactly conn (Long/parseLong (headers "content-length")))]
                 (if raw? body (String. body "ISO-8859-1")))
               :else (read-rest conn))))))

(defn refused?
  "Whether the server ends a new connection and says nothing; over TLS that is in the handshake."
  [port]
  (try
    (with-open [conn (connect port)]
      (closed? conn))
    (catch javax.net.ssl.SSLException _ true)
    (catch java.net.SocketException e (or scheme/https? (throw e)))))

(defn get-request
  "Text of a GET request; headers as pairs."
  [path & headers]
  (str "GET " path " HTTP/1.1\r\nHost: localhost\r\n"
       (str/join (for [[k v] headers] (str k ": " v "\r\n")))
       "\r\n"))

(defn websocket
  "A connection that has asked for a WebSocket."
  ^Closeable [port]
  (doto (connect port)
    (send! (get-request "/ws" ["Upgrade" "websocket"] ["Connection" "Upgrade"] ["Sec-WebSocket-Version" "13"]
                        ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="]))))

(defn fetch
  "One request on a connection of its own; a path, or the whole text of a request."
  [port text]
  (with-open [conn (connect port)]
    (send! conn (if (str/starts-with? text "/") (get-request text) text))
    (answer conn)))

;; Servers

(defn free-port []
  (with-open [socket (ServerSocket. 0)]
    (.getLocalPort socket)))

(defn start
  "Starts a server on a free port of 127.0.0.1. Returns {:port :server :errors :warnings :events},
  the last three atoms of what the loggers were called with."
  [handler options]
  (let [[errors warnings events] (repeatedly #(atom []))
        server (server/run-server handler
                                  (merge {:ip "127.0.0.1" :port 0
                                          :error-logger #(swap! errors conj [%1 %2])
                                          :warn-logger  #(swap! warnings conj [%1 %2])
                                          :event-logger #(swap! events conj %)}
                                         (scheme/options options)
                                         {:legacy-return-value? false}))]
    {:server server :port (server/server-port server) :errors errors :warnings warnings :events events}))

(defn stop
  "Stops a server of `start`, and waits until it is."
  ([server] (stop server 1000))
  ([{:keys [server]} timeout]
   (some-> (server/server-stop! server {:timeout timeout}) (deref patience-ms :not-stopped))))

(defmacro with-server
  "Runs `body` with `binding` bound to what `start` returns."
  [[binding handler options] & body]
  `(let [server# (start ~handler ~options)]
     (try (let [~binding server#] ~@body)
          (finally (stop server#)))))
