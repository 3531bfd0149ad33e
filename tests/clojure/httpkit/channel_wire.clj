(ns httpkit.channel-wire
  "Servers under test, and the peers of channel tests: sockets that tidy nothing.

  A connection is {:socket :in :out}, as in `httpkit.ws-wire`, whose frames work on it
  once it is upgraded."
  (:require [clojure.string :as str]
            [httpkit.scheme :as scheme]
            [httpkit.wire :as wire]
            [org.httpkit.server :as server])
  (:import (java.io BufferedInputStream ByteArrayOutputStream DataInputStream IOException
                    InputStream OutputStream)
           (java.net InetSocketAddress Socket)
           (java.nio.file Files Paths)))

(set! *warn-on-reflection* true)

(def patience-ms wire/patience-ms)
(def eventually wire/eventually)
(def settled wire/settled)
(def spin-until wire/spin-until)

(defn outcome
  "What a promise or future was delivered, `:late` if it was not in time."
  [pending]
  (deref pending patience-ms :late))

(defn run-with-server
  "Calls `f` with {:port :server :errors}, the last an atom of [message throwable]s that were logged."
  [handler opts f]
  (let [errors (atom [])
        server (server/run-server handler (merge {:ip "127.0.0.1" :port 0 :legacy-return-value? false
                                                  :error-logger (fn [msg t] (swap! errors conj [msg t]))
                                                  :warn-logger  (fn [_ _])}
                                                 (scheme/options opts)))]
    (try (f {:port (server/server-port server) :server server :errors errors})
         (finally
           (when-let [stopped (server/server-stop! server {:timeout 500})]
             (outcome stopped))))))

(defmacro with-server
  "Runs `body` with `binding` bound to what `run-with-server` passes."
  [[binding handler opts] & body]
  `(run-with-server ~handler ~opts (fn [~binding] ~@body)))

(defn connect
  "A connection to the port on 127.0.0.1. Option: `:receive-buffer` in bytes."
  [port & {:keys [receive-buffer]}]
  (let [plain (doto (Socket.)
                (.setTcpNoDelay true)
                (.setSoTimeout (int patience-ms)))
        _      (when receive-buffer (.setReceiveBufferSize plain (int receive-buffer)))
        _      (.connect plain (InetSocketAddress. "127.0.0.1" (int port)) (int patience-ms))
        socket (scheme/secure plain)]
    {:socket socket
     :in     (DataInputStream. (BufferedInputStream. (.getInputStream socket) 65536))
     :out    (.getOutputStream socket)}))

(defn disconnect [{:keys [^Socket socket]}]
  (.close socket))

(defn reset
  "Closes the connection with a TCP reset."
  [{:keys [socket]}]
  (scheme/reset!! socket))

(defn half-close [{:keys [^Socket socket]}]
  (.shutdownOutput socket))

(defn write!
  "Writes text as ISO-8859-1."
  [{:keys [^OutputStream out]} ^String text]
  (.write out (.getBytes text "ISO-8859-1")))

(defn get-request
  "A GET of `uri`, with further header lines."
  [uri & lines]
  (str "GET " uri " HTTP/1.1\r\nHost: h\r\n" (apply str (map #(str % "\r\n") lines)) "\r\n"))

(defn- read-line! [^InputStream in]
  (let [line (StringBuilder.)]
    (loop []
      (let [b (.read in)]
        (cond (neg? b)              nil
              (= b (int \newline)) (str/trimr (str line))
              :else (do (.append line (char b)) (recur)))))))

(defn read-head!
  "{:status :headers}, names in lower case; nil at the end of the connection."
  [{:keys [in]}]
  (when-let [line (try (read-line! in) (catch java.net.SocketException _reset nil))]
    {:status  (some-> (re-find #"^HTTP/1\.1 (\d{3})" line) second Long/parseLong)
     :headers (into {}
                    (map (fn [line] (let [[k v] (str/split line #":\s*" 2)] [(.toLowerCase ^String k java.util.Locale/ROOT) v])))
                    (take-while #(not= "" %) (repeatedly #(or (read-line! in) ""))))}))

(defn- copy-bytes!
  "Copies `n` bytes, or all if nil; false if the connection ended before, or was reset."
  [^InputStream in n ^OutputStream to]
  (let [piece (byte-array 65536)]
    (try
      (loop [left n]
        (if (and left (zero? (long left)))
          true
          (let [got (.read in piece 0 (int (if left (min (long left) 65536) 65536)))]
            (cond (pos? got) (do (.write to piece 0 got) (recur (when left (- (long left) got))))
                  :else      (nil? left)))))
      (catch java.net.SocketException _reset false))))

(defn- copy-chunks! [in to sizes]
  (loop []
    (let [line (try (read-line! in) (catch java.net.SocketException _reset nil))
          size (some->> line (re-matches #"[0-9a-fA-F]+") (#(Long/parseLong % 16)))]
      (cond (nil? size)                  false
            (zero? (long size))          (= "" (read-line! in))
            (not (copy-bytes! in size to)) false
            :else (do (swap! sizes conj size)
                      (and (= "" (read-line! in)) (recur)))))))

(defn read-body!
  "What follows a head: {:bytes :framing :complete? :chunks}, the last the sizes of chunks."
  ([conn head] (read-body! conn head (ByteArrayOutputStream.)))
  ([{:keys [in]} {:keys [status headers]} ^OutputStream to]
   (let [length   (some-> (get headers "content-length") Long/parseLong)
         chunked? (= "chunked" (get headers "transfer-encoding"))
         sizes    (atom [])
         framing  (cond chunked? :chunked length :length (#{204 304} status) :none :else :close)
         done?    (case framing
                    :chunked (copy-chunks! in to sizes)
                    :length  (copy-bytes! in length to)
                    :none    true
                    :close   (copy-bytes! in nil to))]
     (cond-> {:framing framing :complete? done? :chunks @sizes}
       (instance? ByteArrayOutputStream to) (assoc :bytes (.toByteArray ^ByteArrayOutputStream to))))))

(defn read-answer!
  "A whole answer: head and body. nil at the end of the connection."
  [conn]
  (when-let [head (read-head! conn)]
    (let [body (read-body! conn head)]
      (merge head body {:text (String. ^bytes (:bytes body) "UTF-8")}))))

(defn ended?
  "Waits for the end of the connection: true if nothing came before it."
  [{:keys [^InputStream in]}]
  (try (neg? (.read in))
       (catch java.net.SocketTimeoutException _ false)
       (catch IOException _reset true)))

(defn exchange
  "Sends one request on a connection of its own, and reads its answer."
  [port request]
  (let [conn (connect port)]
    (try (write! conn request)
         (read-answer! conn)
         (finally (disconnect conn)))))

(defn upgrade
  "An open WebSocket with the answer's `:head`; `lines` are further header lines of the request."
  [port & lines]
  (let [conn (connect port)]
    (write! conn (get-request "/" "Upgrade: websocket" "Connection: Upgrade" "Sec-WebSocket-Version: 13"
                              (str/join "\r\n" (cons "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" lines))))
    (let [{:keys [status] :as head} (read-head! conn)]
      (when (not= 101 status)
        (disconnect conn)
        (throw (ex-info "not upgraded" {:head head})))
      (assoc conn :head head))))

(defn resident-bytes
  "Memory of this process that the kernel has given it pages for."
  []
  ;; Not `slurp`, which asks how much is available: that is unknown for files in /proc.
  (let [status (String. (Files/readAllBytes (Paths/get "/proc/self/status" (make-array String 0))))]
    (* 1024 (Long/parseLong (second (re-find #"VmRSS:\s+(\d+) kB" status))))))

(defn heap-bytes
  "Heap in use after a collection."
  []
  (System/gc)
  (let [runtime (Runtime/getRuntime)]
    (- (.totalMemory runtime) (.freeMemory runtime))))
