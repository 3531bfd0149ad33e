(ns httpkit.rig.site
  "The server of the rig, in a JVM of its own. Clients can check its bodies.

  Options are those of `run-server`, and :modes: true starts more servers (httpkit.rig.modes), in the same JVM. Prints
  {:port :ssl-port :modes}, the last a map from names to such maps, and then answers words on standard input: `state`
  collects garbage and prints what the process holds. Of the first server, `open` prints the number of its connections,
  `timeouts` how many exchanges each time limit has ended; `drain` drains it and ends. `reload` reads the certificates
  again. What is logged goes to standard error, one line each."
  (:require [clojure.edn        :as edn]
            [clojure.string     :as str]
            [httpkit.rig.modes  :as modes]
            [org.httpkit.client :as client]
            [org.httpkit.server :as server]
            [org.httpkit.sse    :as sse])
  (:import (java.io File FileOutputStream InputStream)
           (java.util Arrays)
           (java.util.zip CRC32)
           (org.httpkit.jni Native)))

(set! *warn-on-reflection* true)

(def block-size (* 4 1024 1024))

(def ^{:tag 'bytes} block
  "What bodies consist of: the first n bytes of this."
  (let [bytes (byte-array block-size)]
    (dotimes [i block-size]
      (aset bytes i (unchecked-byte (bit-xor i (bit-shift-right i 7)))))
    bytes))

(defn part ^bytes [n] (Arrays/copyOf block (int n)))

(def ^:private megabyte (part 1000000))

(defn crc
  "CRC-32 of the first `n` bytes of an array."
  [^bytes bytes n]
  (.getValue (doto (CRC32.) (.update bytes 0 (int n)))))

(def ^:private file
  (delay (let [file (doto (File/createTempFile "rig" ".bin") .deleteOnExit)]
           (with-open [out (FileOutputStream. file)] (.write out block))
           file)))

(defn- flow
  "A stream of `left` megabytes that takes no memory."
  ^InputStream [left]
  (let [left (volatile! (* (long left) 1000000))]
    (letfn [(fill [bytes from most]
              (let [n (min (long most) (long @left))]
                (if (or (pos? n) (zero? (long most)))
                  (do (Arrays/fill ^bytes bytes (int from) (int (+ (long from) n)) (byte 120))
                      (vswap! left - n)
                      (int n))
                  -1)))]
      (proxy [InputStream] []
        (read
          ([] (let [one (byte-array 1)] (if (= 1 (fill one 0 1)) (aget one 0) -1)))
          ([bytes] (fill bytes 0 (alength ^bytes bytes)))
          ([bytes from n] (fill bytes from n)))))))

(defn- length-and-sum
  "Of a body that is read piece by piece."
  [^InputStream body]
  (let [sum (CRC32.), buffer (byte-array 8192)]
    (loop [total 0]
      (let [n (long (if body (.read body buffer) -1))]
        (if (neg? n)
          (str total " " (.getValue sum))
          (do (.update sum buffer 0 (int n)) (recur (+ total n))))))))

(defn- chunks
  "Sends 8 KiB pieces of the block while there is room, `n` of them."
  [req n]
  (server/as-channel req
    {:on-overflow :block
     :max-pending-bytes 65536
     :on-open (fn [ch]
                (dotimes [i n]
                  (server/send! ch (Arrays/copyOfRange block (int (* i 8192)) (int (* (inc (long i)) 8192))) false))
                (server/close ch))}))

(defn- events [req n]
  (sse/stream req {:on-open (fn [s]
                              (dotimes [i n] (sse/send! s {:id (str i) :data (str "event " i "\nsecond line")}))
                              (sse/close s))}))

(defn- later
  "The whole response from another thread."
  [req n]
  (server/as-channel req
    {:on-open (fn [ch] (modes/later! #(server/send! ch {:status 200 :body (part n)})))}))

(def keep-alive
  "Msecs for which clients keep connections: none are left when what is left is counted."
  3000)

(def ^:private self (promise))

(defn- fetch-from-self
  "As a client of the same JVM: its length and sum."
  [n]
  (let [{:keys [status body error]} @(client/get (str @self "/download?" n) {:as :byte-array :timeout 30000 :keepalive keep-alive})]
    (if (= 200 status)
      (str (alength ^bytes body) " " (crc body (alength ^bytes body)))
      (throw (ex-info (str "client: " status " " error) {})))))

(defn handler [{:keys [uri body query-string websocket?] :as req}]
  (let [n #(Long/parseLong query-string)]
    (if websocket?
      (server/as-channel req {:on-receive (fn [ch message] (server/send! ch message))})
      (case uri
        "/"         {:status 200 :body "ok"}
        "/json"     {:status 200 :headers {"Content-Type" "application/json"} :body (str "{\"id\":\"" query-string "\"}")}
        "/echo"     {:status 200 :body body}
        "/sum"      {:status 200 :body (length-and-sum body)}
        "/cached"   {:status 200 :body block}
        "/megabyte" {:status 200 :body megabyte}
        "/download" {:status 200 :body (part (n))}
        "/file"     {:status 200 :body @file}
        "/seq"      {:status 200 :body (map #(str % "\n") (range (n)))}
        "/flow"     {:status 200 :body (flow (n))}
        "/lines"    {:status 200 :body (repeat (n) (apply str (repeat 1000 "x")))}
        "/chunks"   (chunks req (n))
        "/events"   (events req (n))
        "/later"    (later req (n))
        "/client"   {:status 200 :body (fetch-from-self (n))}
        "/block"    (do (Thread/sleep (long (n))) {:status 200 :body "ok"})
        "/throw"    (throw (Exception. "as handlers do"))
        "/closed"   (server/as-channel req {:on-open (fn [ch] (server/close ch) (server/send! ch "late"))})
        "/aborted"  (server/as-channel req {:on-open (fn [ch] (.abort ^org.httpkit.server.AsyncChannel ch))})
        {:status 404 :body uri}))))

(defn- log-line! [kind]
  (fn [message throwable]
    (binding [*out* *err*]
      (println (str/replace (str kind " " message (when throwable (str ": " throwable))) "\n" " ")))))

(defn- state
  "What the servers hold and have done; the statistics are those of the first one."
  [servers]
  (System/gc)
  (let [all   (mapv server/server-stats servers)
        sum   #(reduce + (map (fn [stats] (get-in stats %)) all))
        stats (first all)]
    {:handles     (Native/liveHandles)
     :native-kib  (quot (long (get-in stats [:bytes :native])) 1024)
     :connections (sum [:connections :open])
     :requests    (sum [:requests :total])
     :timeouts    (:timeouts stats)
     :stats       (select-keys stats [:connections :requests :bytes :access-log])}))

(defn- ports [server]
  {:port (server/server-port server) :ssl-port (server/server-ssl-port server)})

(defn -main [options]
  (let [options (merge {:ip "127.0.0.1" :port 0 :request-buffer-size 65536 :max-body (* 64 1024 1024)
                        :error-logger (log-line! "error") :warn-logger (log-line! "warn")}
                       (edn/read-string options)
                       {:legacy-return-value? false})
        server  (server/run-server handler (dissoc options :modes))
        modes   (if (:modes options) (modes/start handler (dissoc options :modes)) {})
        servers (into [server] (vals modes))]
    (deliver self (str "http://127.0.0.1:" (server/server-port server)))
    @file
    (prn (assoc (ports server) :modes (update-vals modes ports)))
    (flush)
    (doseq [word (line-seq (java.io.BufferedReader. *in*))]
      (prn (case word
             "state"    (state servers)
             "open"     (get-in (server/server-stats server) [:connections :open])
             "timeouts" (:timeouts (server/server-stats server))
             "reload"   (do (run! server/server-reload-tls! (filter server/server-ssl-port servers)) true)
             "drain"    @(server/server-drain! server {:timeout 30000})))
      (flush))
    (System/exit 0)))
