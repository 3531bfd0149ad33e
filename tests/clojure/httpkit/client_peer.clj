(ns httpkit.client-peer
  "Raw-socket peers for the client's tests: each accepted connection is served by
  a function, so that a test decides every byte."
  (:require [clojure.string :as str]
            [httpkit.wire   :as wire])
  (:import [java.io BufferedInputStream ByteArrayOutputStream EOFException IOException InputStream OutputStream]
           [java.net InetAddress ServerSocket Socket]
           [javax.net.ssl SSLSocket]))

(def latin1 wire/latin1)

(defn- read-line!
  "Up to LF, less CRLF; nil at the end."
  [^InputStream in]
  (loop [out (ByteArrayOutputStream.)]
    (let [b (.read in)]
      (cond
        (= b 10)    (str/replace (.toString out "ISO-8859-1") #"\r$" "")
        (neg? b)    (when (pos? (.size out)) (.toString out "ISO-8859-1"))
        :else       (do (.write out b) (recur out))))))

(defn- read-chunks! [in]
  (loop [body ""]
    (let [size (Long/parseLong (or (read-line! in) (throw (EOFException.))) 16)
          piece (String. (.readNBytes ^InputStream in size) "ISO-8859-1")]
      (read-line! in)
      (if (zero? size) body (recur (str body piece))))))

(defn header
  "First value of the header, by lower-case name."
  [request header-name]
  (some (fn [[k v]] (when (= header-name (.toLowerCase ^String k java.util.Locale/ROOT)) v)) (:headers request)))

(defn read-head!
  "{:line _ :headers [[name value] ...]}, or nil at the end of the connection."
  [{:keys [in]}]
  (when-let [line (read-line! in)]
    {:line    line
     :headers (loop [headers []]
                (let [l (read-line! in)]
                  (if (str/blank? l)
                    headers
                    (recur (conj headers (vec (str/split l #": " 2)))))))}))

(defn read-body!
  "The body of the request with this head, as Latin-1 string; nil if it has none."
  [{:keys [^InputStream in]} head]
  (let [length (header head "content-length")]
    (cond
      length                            (String. (.readNBytes in (Integer/parseInt length)) "ISO-8859-1")
      (header head "transfer-encoding") (read-chunks! in)
      :else                             nil)))

(defn read-request!
  "As `read-head!`, with the :body as Latin-1 string."
  [conn]
  (when-let [head (read-head! conn)]
    (assoc head :body (read-body! conn head))))

(defn send! [{:keys [^OutputStream out]} & strings]
  (.write out (latin1 (apply str strings)))
  (.flush out))

(defn send-bytes! [{:keys [^OutputStream out]} ^bytes bytes]
  (.write out bytes)
  (.flush out))

(defn respond!
  "A 200 with a text body."
  [conn body]
  (send! conn "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " (count body) "\r\n\r\n" body))

(defn await-end!
  "Reads until the peer closes or resets; returns the number of bytes that came."
  [{:keys [^InputStream in]}]
  (let [buffer (byte-array 65536)]
    (loop [total (long 0)]
      (let [n (try (.read in buffer) (catch IOException _ -1))]
        (if (neg? n) total (recur (+ total (long n))))))))

(defn close! [{:keys [^Socket socket]}]
  (.close socket))

(defn break! [{:keys [^Socket socket]}]
  (.setSoLinger socket true 0)
  (.close socket))

(defn- connection [^Socket socket index]
  (.setTcpNoDelay socket true)
  {:socket socket :index index
   :in (BufferedInputStream. (.getInputStream socket)) :out (.getOutputStream socket)})

(defn- serve [{:keys [^ServerSocket server requests sockets]} f]
  (try
    (loop [index 0]
      (let [socket (.accept server)]
        (swap! sockets conj socket)
        (doto (Thread. ^Runnable (fn []
                                   (try
                                     (f (assoc (connection socket index) :requests requests))
                                     (catch Exception e
                                       (when-not (.isClosed socket) (throw e))))))
          (.setDaemon true)
          (.start))
        (recur (inc index))))
    (catch IOException e
      (when-not (.isClosed server) (throw e)))))

(defn start
  "A peer on loopback whose connections are served by `(f conn)`, each on a thread
  of its own. {:port _ :url _ :sockets (atom accepted) :requests (atom [])}"
  [f & {:keys [^ServerSocket server]}]
  (let [server (or server (ServerSocket. 0 50 (InetAddress/getByName "127.0.0.1")))
        peer   {:server server :port (.getLocalPort server)
                :url (str "http://127.0.0.1:" (.getLocalPort server))
                :sockets (atom []) :requests (atom [])}]
    (doto (Thread. ^Runnable #(serve peer f))
      (.setDaemon true)
      (.start))
    peer))

(defn- close-in-time!
  "To close its TLS, Java may wait for bytes that another thread has read: not longer than two seconds."
  [^Socket socket]
  (if (instance? SSLSocket socket)
    (let [closing (Thread. ^Runnable #(try (.close socket) (catch IOException _)))]
      (.setDaemon closing true)
      (.start closing)
      (.join closing 2000))
    (.close socket)))

(defn stop [{:keys [^ServerSocket server sockets]}]
  (.close server)
  (run! close-in-time! @sockets))

(defmacro with-peer
  "Runs `body` with `binding` bound to a peer that serves `f`."
  [[binding f & options] & body]
  `(let [peer# (start ~f ~@options)
         ~binding peer#]
     (try ~@body (finally (stop peer#)))))

(defn answering
  "Serves every request of a connection with `(f request)`, a body or a whole
  answer, and records it in :requests of the peer."
  [f]
  (fn [conn]
    (loop []
      (when-let [request (read-request! conn)]
        (swap! (:requests conn) conj request)
        (let [answer (f request)]
          (if (str/starts-with? answer "HTTP/")
            (send! conn answer)
            (respond! conn answer)))
        (recur)))))

(def eventually wire/eventually)
(def settled wire/settled)

