(ns httpkit.channel-churn
  "Peers that connect, upgrade, send and leave at random points, and handlers that close, abort and throw
  at random: afterwards nothing is left of any of them.

    clojure.main -m httpkit.channel-churn [seconds [seed]]"
  (:require [httpkit.channel-wire :as wire]
            [httpkit.ws-wire :as frames]
            [org.httpkit.server :as server])
  (:import (java.io ByteArrayInputStream File IOException InputStream OutputStream)
           (java.nio.file Files)
           (java.util Random)
           (java.util.concurrent.atomic AtomicLong)
           (java.util.function Consumer)
           (org.httpkit.jni Native)
           (org.httpkit.server AsyncChannel)))

(set! *warn-on-reflection* true)

(def ^:private peers 8)

(defn- chance [^Random random one-in] (zero? (.nextInt random (int one-in))))
(defn- pick [^Random random choices] (nth choices (.nextInt random (count choices))))

;;; The server's side

(def ^:private long-body (byte-array 700000 (byte 98)))

(defn- misbehave!
  "Something that a callback may do to its channel."
  [^Random random ch]
  (case (.nextInt random 12)
    0 (server/close ch)
    1 (.abort ^AsyncChannel ch)
    ;; Not before anything is sent on HTTP: a failed `:on-open` is answered 500, and `:on-close` not called.
    2 (when (server/websocket? ch) (throw (ex-info "as callbacks do" {})))
    3 (server/send! ch (str "last " (.nextInt random)) true)
    4 (future (server/send! ch "from a thread" false) (server/close ch))
    5 (.whenFlushed ^AsyncChannel ch (reify Consumer (accept [_ _])))
    (server/send! ch (apply str (repeat (.nextInt random 3000) "x")) false)))

(defn- channel-options [random counts]
  (cond-> {:init       (fn [_] (.incrementAndGet ^AtomicLong (:opened counts)))
           :on-open    (fn [ch] (misbehave! random ch))
           :on-receive (fn [ch _] (misbehave! random ch))
           :on-close   (fn [_ _] (.incrementAndGet ^AtomicLong (:closed counts)))}
    (chance random 3) (assoc :max-pending-bytes 5000 :on-overflow (pick random [:close :reject :block]) :on-drain (fn [_]))
    (chance random 4) (assoc :ping-interval 20 :ping-timeout 30)
    (chance random 5) (assoc :on-ping (fn [_ _]))))

(defn- answer [^Random random ^File file]
  {:status 200
   :body   (case (.nextInt random 6)
             0 "short"
             1 (ByteArrayInputStream. ^bytes long-body)
             2 (repeat 2000 "a seq of strings, longer than what is kept ")
             3 file
             4 (throw (ex-info "as handlers do" {}))
             5 (proxy [InputStream] []
                 (read
                   ([] 1)
                   ([^bytes b] (if (chance random 20) (throw (IOException. "as streams do")) (alength b))))))})

(defn- handler [^Random random file counts]
  (fn [req]
    (if (or (:websocket? req) (chance random 2))
      (server/as-channel req (channel-options random counts))
      (answer random file))))

;;; The peers' side

(def ^:private handshake
  (wire/get-request "/" "Upgrade: websocket" "Connection: Upgrade" "Sec-WebSocket-Version: 13"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))

(defn- frame [^Random random]
  (case (.nextInt random 6)
    0 [:ping "p"]
    ;; All frames of a visit are less than what is kept behind a running request: of a peer whose further
    ;; bytes are not read, its leaving is not noticed before something is sent to it.
    1 [:binary {:of "b" :times (.nextInt random 10000)}]
    2 [:text {:of "t" :times (inc (.nextInt random 5000))} {:fragments 700}]
    3 [:close (+ 1000 (.nextInt random 3000))]
    4 [:text {:hex "ff"}]
    [:text "text"]))

(defn- some-of
  "A text, or a random part of it."
  [^Random random ^String text]
  (if (chance random 4) (subs text 0 (.nextInt random (count text))) text))

(defn- read-some! [^Random random {:keys [^InputStream in]}]
  (let [buffer (byte-array (inc (.nextInt random 20000)))]
    (.read in buffer)))

(defn- visit!
  "One connection, from its beginning to its end."
  [^Random random port]
  (let [conn (wire/connect port)]
    (.setSoTimeout ^java.net.Socket (:socket conn) 30)
    (try
      (wire/write! conn (some-of random (if (chance random 2)
                                          handshake
                                          (apply str (repeat (inc (.nextInt random 3)) (wire/get-request "/"))))))
      (dotimes [_ (.nextInt random 6)]
        (if (chance random 2)
          (.write ^OutputStream (:out conn) ^bytes (first (frames/frame-bytes (frame random))))
          (try (read-some! random conn) (catch java.net.SocketTimeoutException _ nil))))
      (catch IOException _the-server-left nil)
      (finally (if (chance random 2) (wire/reset conn) (wire/disconnect conn))))))

(defn- churn
  "Visits of one peer until the time is over; how many."
  [^Random random port until]
  (loop [n 0]
    (if (< (System/nanoTime) (long until))
      (do (visit! random port) (recur (inc n)))
      n)))

;;; What is left

(defn- descriptors
  "How many sockets, pipes and polls are open: not files, of which the JVM opens some at any time."
  []
  (count (for [^File fd (.listFiles (File. "/proc/self/fd"))
               :let [target (try (str (Files/readSymbolicLink (.toPath fd))) (catch IOException _gone ""))]
               :when (re-find #"^(socket|pipe|anon_inode)" target)]
           fd)))

(defn- threads
  "How many threads there are that a server may have started."
  []
  (count (for [^Thread thread (keys (Thread/getAllStackTraces))
               :when (re-find #"^server-|^http-kit-server-worker" (.getName thread))]
           thread)))

(defn- remembered
  "How many channels, and waits for their peers, a server knows of."
  [server]
  (let [value    (fn [object ^String field]
                   (.get (doto (.getDeclaredField (class object) field) (.setAccessible true)) object))
        channels (value server "channels")]
    (+ (count (value channels "channels")) (count (value channels "drains")))))

(defn- growth
  "By how much `(f)` is more than `before` once that is settled."
  [before f]
  (let [more #(max 0 (- (long (f)) (long before)))]
    (wire/eventually #(zero? (long (more))))
    (more)))

(defn run
  "Runs the churn for `seconds`. Returns what was seen; :left must be {}, and the growth of memory, from a
  third of the time on, small."
  [seconds seed]
  (println "channel churn: seed" seed)
  (let [file    (doto (File/createTempFile "churn" ".bin") .deleteOnExit)
        counts  {:opened (AtomicLong.) :closed (AtomicLong.)}
        before  {:handles (Native/liveHandles) :threads (threads)}
        random  (Random. seed)
        start   (System/nanoTime)
        at      #(+ start (long (* 1e9 seconds %)))]
    (with-open [out (java.io.FileOutputStream. file)] (.write out ^bytes long-body))
    (let [open #(- (.get ^AtomicLong (:opened counts)) (.get ^AtomicLong (:closed counts)))
          seen (wire/with-server [{:keys [port server]} (handler random file counts) {:error-logger (fn [_ _])}]
                 (let [round   (fn [part seed]
                                 (mapv #(future (churn (Random. (+ (long seed) (long %))) port (at part))) (range peers)))
                       warm    (reduce + (map deref (round 1/3 seed)))
                       _       (growth 0 open)
                       memory  (wire/resident-bytes)
                       sockets (descriptors)
                       visits  (reduce + (map deref (round 1 (+ (long seed) 1000))))]
                   {:visits (+ (long warm) (long visits))
                    :grown  (- (wire/resident-bytes) memory)
                    :open   (growth 0 open)
                    :known  (growth 0 #(remembered server))
                    :fds    (growth sockets descriptors)}))
          left {:fds     (:fds seen)
                :known   (:known seen)
                :open    (:open seen)
                :handles (growth (:handles before) #(Native/liveHandles))
                :threads (growth (:threads before) threads)}]
      (.delete file)
      {:visits   (:visits seen)
       :channels (.get ^AtomicLong (:opened counts))
       :grown    (:grown seen)
       :left     (into {} (remove (comp zero? long val)) left)})))

(defn -main [& [seconds seed]]
  (let [result (run (Long/parseLong (or seconds "300")) (if seed (Long/parseLong seed) (System/nanoTime)))]
    (prn result)
    (shutdown-agents)
    (System/exit (if (and (empty? (:left result)) (< (long (:grown result)) 100000000)) 0 1))))
