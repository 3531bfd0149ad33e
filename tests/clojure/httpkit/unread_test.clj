(ns httpkit.unread-test
  "Peers that ask for large responses and do not read them: what they cost, and what is left when they are gone."
  (:require [clojure.java.io       :as io]
            [clojure.string        :as str]
            [clojure.test          :refer [deftest is testing]]
            [httpkit.subprocess    :as subprocess]
            [httpkit.wire          :as wire]
            [org.httpkit.server    :as server])
  (:import (java.io BufferedReader Closeable)
           (java.net InetSocketAddress Socket)
           (java.nio.file Files Path)
           (java.util Arrays)
           (org.httpkit.jni Native)))

(set! *warn-on-reflection* true)

(defn- resident-mib
  "Memory of a process that is in use, in MiB."
  ^long [^Process process]
  (let [status (Files/readAllLines (Path/of (str "/proc/" (.pid process) "/status") (make-array String 0)))]
    (quot (Long/parseLong (some #(second (re-matches #"VmRSS:\s+(\d+) kB" %)) status)) 1024)))

(defn- start-server
  "Its heap is resident from the start: what grows is memory beside it."
  ^Process []
  (let [native (System/getProperty "http-kit.native.path")]
    (subprocess/start "(require 'httpkit.unread-server) (httpkit.unread-server/-main)"
                      :jvm-args (cond-> (into ["-Xmx256m" "-Xms256m" "-XX:+AlwaysPreTouch"] subprocess/native-access)
                                  native (conj (str "-Dhttp-kit.native.path=" native))))))

(defn- silent-peer
  "A connection that has asked for `path`, and reads nothing."
  [port path]
  (let [conn (wire/wrap (doto (Socket.)
                          (.setReceiveBufferSize 4096)
                          (.connect (InetSocketAddress. "127.0.0.1" (int port)))))]
    (wire/send! conn (if (str/starts-with? path "/ws")
                       (wire/get-request path ["Upgrade" "websocket"] ["Connection" "Upgrade"]
                                         ["Sec-WebSocket-Version" "13"]
                                         ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="])
                       (wire/get-request path ["Accept-Encoding" "gzip"])))
    conn))

(defn- asked [port] (Long/parseLong (:body (wire/fetch port "/asked"))))

(defn- settled-mib
  "Memory of a process once it changes no more."
  ^long [process]
  (wire/settled 500 #(resident-mib process)))

(defn- least-mib
  "Memory of a process once it is at most `goal`, or its least within 10 s: freed memory goes back after a while."
  ^long [process goal]
  (let [least (volatile! (settled-mib process))]
    (wire/eventually 10000 #(<= (long (vswap! least min (resident-mib process))) (long goal)))
    @least))

(defn- measure
  "Memory in MiB: before `n` peers ask for `path`, while they do not read, and when they have left. Expected is a growth
  by `growth` at most, of which `left` may stay."
  [process [port embedded-port] n path embedded? growth left]
  (let [before  (settled-mib process)
        already (asked port)
        conns   (vec (repeatedly n #(silent-peer (if embedded? embedded-port port) path)))]
    (try
      (is (wire/eventually #(= (+ already n) (asked port))))
      (let [during (least-mib process (+ before (long growth)))]
        (run! (fn [^Closeable conn] (.close conn)) conns)
        {:before before, :during during, :after (least-mib process (+ before (long left)))})
      (finally (run! (fn [^Closeable conn] (.close conn)) conns)))))

(defn- expect
  "That peers cost no more than `measure` expects of them."
  [process ports n path embedded? growth left]
  (let [{:keys [before during after] :as measured} (measure process ports n path embedded? growth left)]
    (is (<= (long during) (+ (long before) (long growth))) measured)
    (is (<= (long after) (+ (long before) (long left))) measured)))

(deftest large-responses-for-peers-that-do-not-read-cost-little-and-give-it-back
  (let [process (start-server)]
    (with-open [out (io/reader (.getInputStream process))]
      (try
        (let [ports (mapv #(Long/parseLong %) (str/split (.readLine ^BufferedReader out) #" "))]
          (future (slurp out))
          (measure process ports 20 "/bytes" false 64 32) ; the JVM compiles
          (doseq [[path embedded?] [["/bytes"] ["/buffer"] ["/string"] ["/direct"] ["/chunks"] ["/chunk"]
                                    ["/ws"] ["/ws-text"] ["/bytes" true] ["/direct" true]]]
            (testing (str path (when embedded? ", encoded by an embedder"))
              (expect process ports 400 path embedded? 64 32)))
          (doseq [path ["/coded" "/coded-chunk"]]
            (testing path
              (measure process ports 20 path false 20 20)
              ;; Each would have some 400 KB of its own.
              (expect process ports 100 path false 20 20)))
          (is (= 200 (:status (wire/fetch (first ports) "/asked"))) "it is well"))
        (finally (.destroyForcibly process))))))

(def ^:private size 4000000)

(defn- letters
  "A text of one length: of `c`, but for its last letter."
  [c end]
  (str (String. (char-array (dec (long size)) (char c))) end))

(deftest arrays-are-given-up-when-their-peers-leave-and-when-the-server-stops
  (let [before  (Native/liveHandles)
        n       10
        started (wire/start (constantly {:body (byte-array size)}) {})
        ask     (fn [] (vec (repeatedly n #(silent-peer (:port started) "/"))))
        conns   (ask)]
    (is (wire/eventually #(= (+ before 1 n) (Native/liveHandles))) "the server, and what its peers have yet to read")
    (run! (fn [^Closeable conn] (.close conn)) conns)
    (is (wire/eventually #(= (inc before) (Native/liveHandles))))
    (let [conns (ask)]
      (is (wire/eventually #(= (+ before 1 n) (Native/liveHandles))))
      (is (= true (wire/stop started 0)))
      (is (wire/eventually #(= before (Native/liveHandles))))
      (run! (fn [^Closeable conn] (.close conn)) conns))))

(deftest equal-bodies-are-kept-once-and-different-ones-reach-the-right-peers
  (let [bodies  {"/a" (letters \a "1"), "/b" (letters \a "2"), "/c" (letters \c "1")}
        started (wire/start (fn [{:keys [uri]}] {:body (bodies uri)}) {})
        before  (Native/liveHandles)
        asked   (vec (for [_ (range 4), uri (keys bodies)] [uri (silent-peer (:port started) uri)]))]
    (try
      (is (wire/eventually #(< before (Native/liveHandles))))
      (is (wire/eventually #(>= (+ before (count bodies)) (Native/liveHandles))) "no more arrays than there are bodies")
      (->> asked
           (mapv (fn [[uri conn]] (future (= (bodies uri) (:body (wire/answer conn))))))
           (run! #(is (true? (deref % wire/patience-ms :late)))))
      (is (wire/eventually #(= before (Native/liveHandles))))
      (finally
        (run! (fn [[_ ^Closeable conn]] (.close conn)) asked)
        (wire/stop started)))))

(deftest a-message-that-changes-after-its-send-reaches-its-peer-as-it-was
  (let [message (byte-array size (byte 1))
        started (wire/start (fn [req] (server/as-channel req {:on-open (fn [ch]
                                                                         (server/send! ch message)
                                                                         (Arrays/fill message (byte 2)))}))
                            {})]
    (try
      (with-open [^Closeable conn (silent-peer (:port started) "/ws")]
        (is (= 101 (:status (wire/read-head conn))))
        (is (wire/eventually #(= 2 (aget message 0))))
        (wire/read-exactly conn 10)
        (is (every? #(= 1 %) (wire/read-exactly conn size))))
      (finally (wire/stop started)))))
