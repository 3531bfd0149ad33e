(ns httpkit.golden.script
  "Scripted TCP servers for the client cases: each accepted connection performs
  one script; what arrives in whole requests is recorded."
  (:require [clojure.string :as str]
            [httpkit.golden.bytes :as bytes]
            [httpkit.golden.http :as http])
  (:import [java.io BufferedInputStream ByteArrayOutputStream IOException InputStream]
           [java.net InetAddress ServerSocket Socket]))

(set! *warn-on-reflection* true)

(defn- read-until-blank-line
  "Bytes of a head without its empty line, or nil at the end of stream."
  ^bytes [^InputStream in]
  (let [out (ByteArrayOutputStream.)]
    (loop [matched 0]
      (if (= matched 4)
        (let [bs (.toByteArray out)] (java.util.Arrays/copyOf bs (- (alength bs) 4)))
        (let [b (.read in)]
          (when-not (neg? b)
            (.write out b)
            (recur (long (cond (= b (if (even? matched) 13 10)) (inc matched)
                               (= b 13) 1
                               :else 0)))))))))

(defn- read-n
  "Exactly `n` bytes, or nil when the stream ends before."
  ^bytes [^InputStream in n]
  (let [bs (byte-array n)]
    (loop [got 0]
      (if (= got (alength bs))
        bs
        (let [k (.read in bs got (- (alength bs) got))]
          (when-not (neg? k) (recur (+ got k))))))))

(defn- read-line-bytes [^InputStream in]
  (loop [sb (StringBuilder.)]
    (let [b (.read in)]
      (cond
        (neg? b) nil
        (= b 10) (str/replace (.toString sb) #"\r$" "")
        :else (recur (.append sb (char b)))))))

(defn- skip-trailers
  "Reads lines up to the empty one; nil when the stream ends before it."
  [in]
  (loop []
    (when-let [line (read-line-bytes in)]
      (or (= line "") (recur)))))

(defn- read-chunked [in]
  (let [out (ByteArrayOutputStream.)]
    (loop []
      (when-let [line (read-line-bytes in)]
        (let [n (Integer/parseInt (first (str/split line #";")) 16)]
          (if (zero? n)
            (when (skip-trailers in) (.toByteArray out))
            (when-let [bs (read-n in n)]
              (.write out ^bytes bs 0 (int n))
              (read-line-bytes in)
              (recur))))))))

(defn- header [headers wanted]
  (some (fn [[k v]] (when (= wanted (.toLowerCase ^String k java.util.Locale/ROOT)) v)) headers))

(defn- read-head [in]
  (when-let [head (read-until-blank-line in)]
    (let [[line & lines] (str/split (bytes/text head) #"\r\n")]
      {:line line
       :headers (mapv (fn [l] (let [[k v] (str/split l #": ?" 2)] [k v])) lines)})))

(defn- hide-boundary
  "The multipart boundary, new in every run, as `{boundary}`."
  [headers ^bytes body]
  (let [boundary (some->> (header headers "content-type")
                          (re-find #"^multipart/.*boundary=(\S+)$") second)
        hide (fn [^String s] (if (and boundary s) (.replace s ^CharSequence boundary "{boundary}") s))]
    [(mapv (fn [[k v]] [k (hide v)]) headers)
     (some-> body bytes/text hide bytes/latin1)]))

(defn- read-request
  "One whole request as the data writes it, or nil when the peer left before its end."
  [in]
  (when-let [{:keys [line headers]} (read-head in)]
    (let [length (header headers "content-length")
          chunked? (= "chunked" (some-> ^String (header headers "transfer-encoding") (.toLowerCase java.util.Locale/ROOT)))
          body (cond chunked? (read-chunked in)
                     length (read-n in (Integer/parseInt length)))]
      (when-not (and (or length chunked?) (nil? body))
        (let [[headers body] (hide-boundary headers body)]
          (cond-> {"line" line "headers" headers}
            body (assoc "body" (bytes/shorten body))))))))

(defn- drain! [^InputStream in]
  (let [chunk (byte-array 65536)]
    (while (not (neg? (.read in chunk))))))

(declare run-script)

(defn- step
  "Performs one step; false ends the script."
  [{:keys [^Socket socket ^InputStream in record!] :as c} s]
  (if (string? s)
    (case s
      "read" (when-let [request (read-request in)] (record! request) true)
      "read-head" (some? (read-head in))
      "hang" (do (drain! in) false)
      "fin" (do (.shutdownOutput socket) true)
      "close" (do (.close socket) false)
      "reset" (do (.setSoLinger socket true 0) (.close socket) false))
    (let [[k v] (first s)]
      (case k
        "send" (do (bytes/write! (.getOutputStream socket) v) true)
        "pause_ms" (do (Thread/sleep (long v)) true)
        "loop" (do (while (run-script c v)) false)))))

(defn- run-script [c steps]
  (every? #(step c %) steps))

(defn- serve [^Socket socket substitute script record!]
  (try
    (.setTcpNoDelay socket true)
    (run-script {:socket socket :in (BufferedInputStream. (.getInputStream socket)) :record! record!}
                (substitute script))
    (catch IOException _ nil)))

(defn- daemon [^String name f]
  (doto (Thread. ^Runnable f name) (.setDaemon true) .start))

(defn start
  "Listens on 127.0.0.1; connection n performs script n, or the last one.
  `substitute` fills the ports into a script, `record!` takes each whole request."
  [scripts substitute record!]
  (let [listener (ServerSocket. 0 50 (InetAddress/getByName "127.0.0.1"))
        sockets (atom [])]
    {:port (.getLocalPort listener)
     :listener listener
     :sockets sockets
     :thread (daemon "golden-accept"
                     (fn []
                       (try
                         (loop [left scripts]
                           (let [socket (.accept listener)]
                             (swap! sockets conj socket)
                             (daemon "golden-script" #(serve socket substitute (first left) record!))
                             (recur (or (next left) left))))
                         (catch IOException _ nil))))}))

(defn connections
  "Number of connections accepted so far."
  [{:keys [sockets]}]
  (count @sockets))

(defn stop!
  "Closes the listener and every connection."
  [{:keys [^ServerSocket listener sockets]}]
  (.close listener)
  (doseq [^Socket s @sockets] (try (.close s) (catch IOException _ nil))))

(defn dead-port
  "A port on which nothing listens."
  []
  (with-open [s (ServerSocket. 0 1 (InetAddress/getByName "127.0.0.1"))]
    (.getLocalPort s)))
