(ns httpkit.rig.faults
  "What peers may do to a server, one JVM with a heap of 256 MiB for each kind. During and after it the server answers;
  memory stays within the bound of the case; descriptors, threads and handles return to what they were; the log is
  short. Figures are printed. `./dev rig` runs it; not part of `./dev clojure-test`. With -Dhttpkit.rig.short=true, one
  case of each kind.

  Times are asserted generously, for machines under load."
  (:require [clojure.java.io      :as io]
            [clojure.string       :as str]
            [clojure.test         :refer [deftest is testing]]
            [httpkit.rig.process  :as process]
            [httpkit.rig.witness  :as witness]
            [httpkit.tls-certs    :as certs]
            [httpkit.tls-wire     :as tls]
            [httpkit.wire         :as wire])
  (:import (java.io Closeable File IOException)
           (java.net InetSocketAddress Socket)
           (java.util SplittableRandom)
           (java.util.concurrent.atomic AtomicInteger)))

(set! *warn-on-reflection* true)

;;;; One case

(defn- cases
  "All of them, or in the short form the first."
  [all]
  (if (Boolean/getBoolean "httpkit.rig.short") (take 1 all) all))

(def ^:private grace
  "What memory may differ by once all is over, in KiB: code that was compiled meanwhile, and the allocator's caches."
  (* 32 1024))

(defn- warm-up! [{:keys [port ssl-port]}]
  (dotimes [_ 200] (wire/fetch port "/"))
  (doseq [path ["/json?x" "/download?100000" "/file" "/seq?1000" "/chunks?10" "/events?3" "/flow?1" "/lines?2000"]]
    (dotimes [_ 3] (wire/fetch port path)))
  (when ssl-port (dotimes [_ 20] (tls/fetch ssl-port "/")))
  ;; Memory that was freed goes back to the system a second later.
  (Thread/sleep 1500))

(defn- close-all! [peers] (run! #(try (.close ^Closeable %) (catch IOException _ nil)) peers))

(defn check
  "Starts a site and a witness. `(attack site)` returns the peers that it holds open. What that costs is measured then;
  `(meanwhile site peers)` asserts more. Then the peers are closed.

    :options   of the server
    :each-kib  what one peer may cost
    :measure   what measures that, default `process/settled`
    :log-bytes what may be logged, default 4096"
  [about {:keys [options each-kib measure log-bytes] :or {log-bytes 4096, measure process/settled}} attack meanwhile]
  (testing about
    (with-open [site (process/start options)]
      (warm-up! site)
      (let [before  (process/settled site)
            log     (process/log-bytes site)
            witness (witness/start (:port site))
            peers   (attack site)
            during  (measure site)
            more    (meanwhile site peers)
            seen    (witness/stop witness)
            _       (close-all! peers)
            left    (process/returned site before)
            after   (process/settled site)
            logged  (- (process/log-bytes site) log)
            growth  (fn [state] (- (long (:rss-kib state)) (long (:rss-kib before))))]
        (println (format "%s: %d peers, memory %+d KiB with them (%.1f KiB each), %+d after; others: %s; log %d bytes%s"
                         about (count peers) (growth during) (/ (double (growth during)) (max 1 (count peers)))
                         (growth after) (witness/figures seen) logged (if more (str "; " more) "")))
        (is (= [] (:wrong seen)) "others were answered throughout")
        (is (pos? (long (:answered seen))))
        (is (> 3000 (long (:median-ms seen))) "and soon")
        (when each-kib
          (is (<= (count peers) (long (:connections during))) "all are connected when their memory is measured")
          (is (>= (* (long each-kib) (count peers)) (long (growth during))) "memory with them"))
        (is (>= (long grace) (long (growth after))) "memory after them")
        (is (= {} left) "what was not given back")
        (is (>= (long log-bytes) logged) (pr-str (process/log-counts site)))
        (is (= "ok" (:body (wire/fetch (:port site) "/"))) "and it is well")))))

(defn- nothing-more [_ _] nil)

;;;; Peers

(defn- narrow
  "A connection whose kernel keeps little of what is not read."
  [port]
  (wire/wrap (doto (Socket.)
               (.setReceiveBufferSize 4096)
               (.connect (InetSocketAddress. "127.0.0.1" (int port)) (int wire/patience-ms)))))

(defn- asking
  "`n` peers that have sent `data`."
  [n port connect & data]
  (vec (repeatedly n #(doto (connect port) (as-> conn (apply wire/send! conn data))))))

(def ^:private upgrade
  (wire/get-request "/ws" ["Upgrade" "websocket"] ["Connection" "Upgrade"] ["Sec-WebSocket-Version" "13"]
                    ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="]))

(defn- now-ms [] (quot (System/nanoTime) 1000000))

(defn- ends
  "When the server ended each connection, in ms, as promises; what it said is dropped. A thread for each waits for that:
  looking at 1,000 in turn takes over a second."
  [peers]
  (vec (for [peer peers]
         (let [ended (promise)
               wait  #(try (while (not (neg? (wire/read-byte peer))))
                           (deliver ended (now-ms))
                           (catch IOException _ nil))]
           (doto (Thread. nil ^Runnable wait "end of a peer" 65536) (.setDaemon true) (.start))
           ended))))

(defn- trickle
  "Sends a byte to each peer every 200 ms, until all are over; the longest that one has lived, in ms, or :not-over after a
  minute."
  [peers born]
  (let [ended    (ends peers)
        deadline (+ (long (now-ms)) 60000)]
    (loop []
      (let [now   (long (now-ms))
            alive (keep-indexed #(when-not (realized? (ended %1)) %2) peers)]
        (cond
          (empty? alive)   (reduce max (map #(- (long (deref %1)) (long %2)) ended born))
          (< deadline now) :not-over
          :else            (do (run! #(wire/send! % "a") alive)
                               (Thread/sleep (max 1 (- 200 (- (long (now-ms)) now))))
                               (recur)))))))

(defn- connected-at
  "`n` peers and when each was connected."
  [n connect]
  (let [both (vec (repeatedly n #(vector (connect) (now-ms))))]
    [(mapv first both) (mapv second both)]))

(defn- gone-in-time
  "Trickles, and asserts that all were gone within the limit and a second."
  [limit-ms born peers]
  (let [longest (trickle peers born)]
    ;; The promise is limit + 1 s; the rest is for machines under load.
    (is (number? longest) "all are gone")
    (when (number? longest)
      (is (<= (- (long limit-ms) 300) (long longest) (+ (long limit-ms) 6000)) "within the limit and a second"))
    (str "all gone after " longest " ms, limit " limit-ms)))

;;;; Slow peers

(defn- at-once
  "Measures as soon as `n` peers are connected, before their time is over."
  [n]
  (fn [site]
    ;; Not by what the site says, which collects garbage first: the time in which it stands still does not count.
    (wire/eventually #(<= (long n) (long (process/ask site "open"))))
    (process/held site)))

(defn- slow-senders
  "1,000 peers that begin with `beginning` and then send a byte at a time, to the port under `k`."
  [about option beginning & {:keys [k options] :or {k :port}}]
  (let [limit 4000, born (volatile! nil)]
    (check about {:options (assoc options option limit) :each-kib 16 :measure (at-once 1000)}
           (fn [site]
             (let [[peers times] (connected-at 1000 #(doto (wire/connect (k site)) (wire/send! beginning)))]
               (vreset! born times)
               peers))
           (fn [_ peers]
             (gone-in-time limit @born peers)))))

(deftest slow-heads-are-gone-in-time-and-harm-no-other
  (slow-senders "slow heads" :header-timeout "GET / HTTP/1.1\r\nHost: h\r\nX-Slow: "))

(deftest slow-bodies-are-gone-in-time-and-harm-no-other
  (slow-senders "slow bodies" :body-timeout "POST /sum HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n"))

(deftest slow-handshakes-are-gone-in-time-and-harm-no-other
  ;; A record of 16 KiB with a ClientHello, of which the first bytes come.
  (slow-senders "slow handshakes" :header-timeout (byte-array [0x16 3 1 0x40 0 1 0 0x3f 0xfc 3 3])
                :k :ssl-port :options {:ssl-port 0 :tls (certs/pem "server")}))

(deftest slow-streamed-bodies-are-gone-in-time-and-harm-no-other
  (let [limit 4000, born (volatile! nil)]
    ;; Each has a handler that reads: few, for JVMs whose handlers need threads.
    (check "slow bodies that a handler reads"
           {:options {:body-timeout limit :thread 40} :each-kib 200 :measure (at-once 30) :log-bytes 40000}
           (fn [{:keys [port]}]
             (let [[peers times] (connected-at 30 #(doto (wire/connect port)
                                                     (wire/send! "POST /sum HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")))]
               (vreset! born times)
               peers))
           (fn [_ peers]
             (gone-in-time limit @born peers)))))

(defn- until-all-are-reset
  "Reads a byte of each every 200 ms. The first one takes what has arrived from the kernel, which is progress: from then
  on they are too slow. Of a reset they hear only when they have read all that; the server counts. Returns how long it
  took, in ms; :not-over after a minute."
  [site peers]
  (run! wire/read-byte peers)
  (let [since (long (now-ms))]
    (loop []
      (let [waited (- (long (now-ms)) since)]
        (cond
          (= (count peers) (:write (process/ask site "timeouts"))) waited
          (< 60000 waited) :not-over
          :else (do (run! wire/read-byte peers)
                    (Thread/sleep 200)
                    (recur)))))))

(deftest slow-readers-are-gone-in-time-and-harm-no-other
  (let [limit 4000]
    (check "slow readers" {:options {:write-timeout limit} :each-kib 1024 :measure (at-once 1000)}
           (fn [{:keys [port]}] (asking 1000 port narrow (wire/get-request "/cached")))
           (fn [site peers]
             (let [longest (until-all-are-reset site peers)]
               (is (number? longest) "all are gone")
               (when (number? longest)
                 (is (<= (long longest) (+ limit 6000)) "within the limit and a second"))
               (str "all reset after " longest " ms, limit " limit))))))

;;;; Announced sizes

(deftest what-is-announced-costs-nothing
  (doseq [[about & data] (cases [["announced by Content-Length" "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 8388608\r\n\r\nabc"]
                                 ["announced by a chunk" "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n800000\r\nabc"]
                                 ["announced by a frame" upgrade (byte-array [0x82 0xff 0 0 0 0 0 0x3f 0xff 0xff 1 2 3 4 5 6 7])]])]
    ;; Bodies in memory: those that are streamed start a handler each.
    (check about {:options {:request-buffer-size nil} :each-kib 64}
           (fn [{:keys [port]}] (apply asking 300 port wire/connect data))
           nothing-more)))

;;;; Peers that do not read

(deftest stalled-readers-cost-at-most-a-mebibyte-each
  (doseq [path (cases ["/flow?4" "/cached" "/file" "/lines?4000" "/chunks?500"])]
    (check (str "100 that do not read " path) {:each-kib 1024}
           (fn [{:keys [port]}] (asking 100 port narrow (wire/get-request path)))
           nothing-more)))

(deftest unread-responses-to-pipelined-requests-cost-at-most-a-mebibyte-each
  (check "50 that pipeline and do not read" {:each-kib 1024}
         (fn [{:keys [port]}]
           (let [requests (apply str (repeat 100 (wire/get-request "/download?100000")))]
             (asking 50 port narrow requests)))
         nothing-more))

(deftest streams-longer-than-the-heap-that-are-not-read-harm-no-other
  (doseq [path (cases ["/flow?390" "/lines?390000"])]
    (check (str "6 that do not read " path) {:each-kib 2048}
           (fn [{:keys [port]}] (asking 6 port narrow (wire/get-request path)))
           nothing-more)))

(defn- do-not-read-echoes
  "20 peers that send `n` messages of 16 KiB each."
  [n {:keys [port]}]
  (let [message (byte-array (concat [0x82 0xfe 0x40 0x00 0 0 0 0] (repeat 0x4000 1)))
        peers   (asking 20 port narrow upgrade)]
    (doseq [peer peers]
      (is (= 101 (:status (wire/read-head peer)))))
    (->> peers
         (mapv (fn [peer] (future (dotimes [_ n] (wire/send! peer message)))))
         (run! #(deref % 10000 :blocked)))
    peers))

(deftest echoes-that-are-not-read-cost-what-the-limit-says
  (let [options {:max-pending-bytes 524288}]
    (check "20 that do not read the echoes of 480 KiB" {:options options :each-kib 2048}
           (partial do-not-read-echoes 30)
           nothing-more)
    (check "20 that do not read the echoes of 4.7 MiB" {:options options}
           (partial do-not-read-echoes 300)
           (fn [site _]
             (is (wire/eventually #(>= 1 (long (:connections (process/held site))))) "they are closed")
             nil))))

;;;; Garbage and aborts

(defn- storm
  "Calls `(one random)` some `n` times on 4 threads. The peers are all gone."
  [n one]
  (->> (range 4)
       (mapv (fn [seed] (future (let [random (SplittableRandom. (long seed))]
                                  (dotimes [_ (quot (long n) 4)]
                                    (try (one random) (catch IOException _ nil)))))))
       (run! deref))
  [])

(defn- random-bytes ^bytes [^SplittableRandom random n]
  (let [bytes (byte-array n)]
    (dotimes [i n] (aset bytes i (unchecked-byte (.nextInt random 256))))
    bytes))

(defn- leave! [^SplittableRandom random conn]
  (case (.nextInt random 3)
    0 (.close ^Closeable conn)
    1 (wire/reset!! conn)
    2 (do (wire/half-close! conn) (.close ^Closeable conn))))

(deftest garbage-is-refused-and-fills-no-log
  (check "4,000 that send garbage" {}
         (fn [{:keys [port]}]
           (storm 4000 (fn [^SplittableRandom random]
                         (let [conn (wire/connect port)]
                           (wire/send! conn (random-bytes random (inc (.nextInt random 300))) "\r\n\r\n")
                           (leave! random conn)))))
         nothing-more))

(deftest connections-cut-at-any-byte-leave-nothing
  (check "4,000 that leave at any byte" {}
         (fn [{:keys [port]}]
           (let [texts (mapv wire/latin1
                             [(wire/get-request "/file") (wire/get-request "/flow?4") (wire/get-request "/events?100")
                              (wire/get-request "/chunks?200") upgrade (str upgrade "\u0081\u0085\u0001\u0002\u0003\u0004hello")
                              (str "POST /sum HTTP/1.1\r\nHost: h\r\nContent-Length: 200\r\n\r\n" (apply str (repeat 200 "x")))
                              (str "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                                   "5\r\nhello\r\n0\r\n\r\n")])]
             (storm 4000 (fn [^SplittableRandom random]
                           (let [^bytes text (nth texts (.nextInt random (count texts)))
                                 conn (wire/connect port)]
                             (wire/send! conn (java.util.Arrays/copyOf text (.nextInt random (inc (alength text)))))
                             (when (zero? (.nextInt random 3)) (Thread/sleep 2))
                             (leave! random conn))))))
         nothing-more))

(deftest handshakes-cut-or-damaged-at-any-byte-leave-nothing-and-fill-no-log
  (let [hello (with-open [listener (java.net.ServerSocket. 0)]
                ;; What Java's client says first.
                (future (try (tls/connect (.getLocalPort listener)) (catch Exception _ nil)))
                (with-open [peer (.accept listener)]
                  (let [buffer (byte-array 4096)]
                    (java.util.Arrays/copyOf buffer (.read (.getInputStream peer) buffer)))))]
    (check "2,000 handshakes that are cut or damaged" {:options {:ssl-port 0 :tls (certs/pem "server")}}
           (fn [{:keys [ssl-port]}]
             (storm 2000 (fn [^SplittableRandom random]
                           (let [conn  (wire/connect ssl-port)
                                 bytes (aclone ^bytes hello)
                                 at    (.nextInt random (alength bytes))]
                             (if (.nextBoolean random)
                               (do (aset bytes at (unchecked-byte (.nextInt random 256)))
                                   (wire/send! conn bytes))
                               (wire/send! conn (java.util.Arrays/copyOf bytes at)))
                             (when (.nextBoolean random) (Thread/sleep 2))
                             (leave! random conn))))
             [])
           (fn [{:keys [ssl-port]} _]
             (is (= "ok" (:body (tls/fetch ssl-port "/"))))
             nil))))

;;;; What a handler does

(deftest handlers-that-throw-close-or-block-cost-nothing-that-stays
  (check "2,000 requests to handlers that throw, close and abort" {:log-bytes 200000}
         (fn [{:keys [port]}]
           (storm 2000 (fn [^SplittableRandom random]
                         (let [path (nth ["/throw" "/closed" "/aborted" "/block?5"] (.nextInt random 4))]
                           (try (wire/fetch port path) (catch clojure.lang.ExceptionInfo _ nil))))))
         nothing-more))

;;;; Nothing left to open

(deftest without-descriptors-open-connections-are-served-and-the-log-stays-short
  (let [held (AtomicInteger.)]
    (check "without descriptors" {}
           (fn [site]
             (with-open [early (wire/connect (:port site))]
               (wire/send! early (wire/get-request "/"))
               (is (= "ok" (:body (wire/answer early))))
               (let [before (process/limit-descriptors! site 3)]
                 (try
                   (let [waiting (vec (repeatedly 200 #(wire/connect (:port site))))]
                     (dotimes [_ 50]
                       (wire/send! early (wire/get-request "/"))
                       (when (= "ok" (:body (wire/answer early))) (.incrementAndGet held))
                       (Thread/sleep 40))
                     (close-all! waiting))
                   (finally (process/limit-descriptors! site before)))))
             [])
           (fn [_ _]
             (is (= 50 (.get held)))
             nil))))

;;;; slowhttptest

(def ^:private slowhttptest
  (first (filter #(.canExecute (File. ^String %)) ["/usr/bin/slowhttptest" "/usr/local/bin/slowhttptest"])))

(def ^:private modes
  [["slow headers" ["-H" "-i" "1" "-x" "24"]]
   ["slow body"    ["-B" "-i" "1" "-s" "8192" "-x" "10"]]
   ["range"        ["-R" "-a" "5" "-b" "300"]]
   ["slow read"    ["-X" "-w" "64" "-y" "128" "-n" "1" "-z" "16" "-k" "3" "-r" "100"]]])

(deftest slowhttptest-never-finds-the-service-unavailable
  (if-not slowhttptest
    (println "left out: slowhttptest is not on this machine")
    (doseq [[about arguments] (cases modes)]
      (check (str "slowhttptest, " about) {:options {:header-timeout 4000 :body-timeout 4000 :write-timeout 4000}}
             (fn [{:keys [port]}]
               ;; Responses of 1 MB, 100 a second: that is what the kernel takes at once from each before its peer is
               ;; slow, and 800 times 4 MB would be more than it has for all connections of a machine.
               (let [path    (if (= "slow read" about) "/megabyte" "/file")
                     seconds (or (System/getProperty "httpkit.rig.seconds") "10")
                     command (-> [slowhttptest]
                                 (into ["-r" "400"])
                                 (into arguments)
                                 (into ["-c" "800" "-l" seconds "-p" "3" "-u" (str "http://127.0.0.1:" port path)]))
                     tester  (-> (ProcessBuilder. ^java.util.List command) (.redirectErrorStream true) (.start))
                     said    (slurp (.getInputStream tester))]
                 (is (str/includes? said "service available:") "it did test")
                 (is (not (re-find #"service available:[^Y]*NO" (str/replace said #"\u001b\[[0-9;]*m" ""))) about)
                 []))
             nothing-more))))
