(ns httpkit.channel-bounds-test
  "What waits is bounded: sends to a peer that does not read, messages for a callback that is slow."
  (:require [clojure.edn :as edn]
            [clojure.string :as str]
            [clojure.test :refer [deftest is]]
            [httpkit.channel-wire :as wire]
            [httpkit.subprocess :as subprocess]
            [httpkit.ws-wire :as frames]
            [org.httpkit.server :as server])
  (:import (java.util.concurrent CountDownLatch)
           (org.httpkit.jni NativeLibrary)
           (org.httpkit.server AsyncChannel)))

(set! *warn-on-reflection* true)

(defn- send-frames! [conn & fs] (frames/send! conn fs nil))

(def ^:private piece (apply str (repeat 65536 \p)))
(def ^:private limit 262144)

(defn- held-open
  "Calls `f` with a channel and its peer, which has not read anything yet. `where` says who sets the options."
  [kind where opts f]
  (let [channel (promise)
        heard   (atom [])
        opts    (assoc opts :max-pending-bytes limit)
        callbacks {:on-open  (fn [ch]
                               (when (= kind :http) (server/send! ch nil false))
                               (deliver channel ch))
                   :on-close (fn [_ status] (swap! heard conj status))}]
    (wire/with-server [{:keys [port]}
                       #(server/as-channel % (if (= where :as-channel) (merge callbacks opts) callbacks))
                       (if (= where :run-server) opts {})]
      (let [conn (wire/connect port :receive-buffer 4096)]
        (wire/write! conn (if (= kind :http)
                            (wire/get-request "/")
                            (wire/get-request "/" "Upgrade: websocket" "Connection: Upgrade" "Sec-WebSocket-Version: 13"
                                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")))
        (wire/read-head! conn)
        (f {:ch (wire/outcome channel) :conn conn :heard heard})
        (wire/disconnect conn)))))

(defn- accepted
  "How many pieces are accepted, of at most 2000 (128 MB)."
  [ch]
  (count (take-while true? (repeatedly 2000 #(server/send! ch piece false)))))

(def ^:private everywhere
  (for [kind [:http :websocket] where [:run-server :as-channel]] [kind where]))

(deftest close-cuts-a-peer-that-does-not-read
  (doseq [[kind where] everywhere]
    (held-open kind where {:on-overflow :close}
      (fn [{:keys [ch conn heard]}]
        (is (< (long (accepted ch)) 1000) (str kind where))
        (is (false? (server/open? ch)))
        (is (= [:server-close] @heard) "in the thread of the send")
        (is (zero? (server/pending-bytes ch)))
        (is (not (:complete? (wire/read-body! conn {:status 200 :headers {}}))) "the peer sees a reset")))))

(deftest reject-refuses-until-the-peer-reads
  (doseq [[kind where] everywhere]
    (held-open kind where {:on-overflow :reject}
      (fn [{:keys [ch conn heard]}]
        (is (< (long (accepted ch)) 1000))
        (is (<= limit (long (server/pending-bytes ch)) (+ limit 66000)))
        (is (true? (server/open? ch)))
        (is (false? (server/send! ch "more" false)))
        (future (let [buffer (byte-array 65536)]
                  (try (while (pos? (.read ^java.io.DataInputStream (:in conn) buffer)))
                       (catch java.io.IOException _ended nil))))
        (is (wire/eventually #(zero? (long (server/pending-bytes ch)))))
        (is (true? (server/send! ch "more" false)))
        (is (= [] @heard))))))

(deftest one-large-message-always-passes
  (let [large (apply str (repeat (* 20 limit) \l))]
    (doseq [policy [:close :block :reject]]
      (held-open :websocket :as-channel {:on-overflow policy}
        (fn [{:keys [ch conn]}]
          (is (true? (server/send! ch large)))
          (is (pos? (long (server/pending-bytes ch))))
          (is (= [:text (frames/summary (.getBytes ^String large))] (frames/receive! conn)))
          (is (wire/eventually #(zero? (long (server/pending-bytes ch)))))
          (is (true? (server/send! ch "small")))
          (is (= [:text "small"] (frames/receive! conn))))))))

(deftest a-refused-send-leaves-no-trace-in-the-stream
  (held-open :http :as-channel {:on-overflow :reject}
    (fn [{:keys [ch conn]}]
      (let [n (accepted ch)]
        (is (false? (server/send! ch "refused" true)) "nor does it close")
        (is (true? (server/open? ch)))
        (is (true? (server/close ch)) "a close is never refused")
        (let [{:keys [chunks complete?]} (wire/read-body! conn {:status 200 :headers {"transfer-encoding" "chunked"}})]
          (is complete?)
          (is (= (repeat n 65536) chunks)))))))

(deftest on-drain-tells-when-a-refused-sender-may-go-on
  (let [drains (atom 0) channel (promise)]
    (wire/with-server [{:keys [port]}
                       #(server/as-channel % {:max-pending-bytes limit :on-overflow :reject
                                              :on-open  (fn [ch] (deliver channel ch))
                                              :on-drain (fn [ch]
                                                          (is (zero? (long (server/pending-bytes ch))))
                                                          (swap! drains inc))})
                       {}]
      (let [conn (wire/upgrade port)
            ch   (wire/outcome channel)]
        (dotimes [round 3]
          (let [n (accepted ch)]
            (is (false? (server/send! ch "refused")) "a second refusal asks for no second call")
            (is (= round @drains))
            (dotimes [_ n] (frames/receive! conn)))
          (is (wire/eventually #(= (inc round) @drains))))
        (wire/disconnect conn)))))

(deftest on-drain-is-not-called-for-a-channel-that-is-closed
  (doseq [[about leave] {"the peer resets" (fn [conn _] (wire/reset conn))
                         "we close"        (fn [conn ch]
                                             (server/close ch)
                                             (doall (take-while #(not= :close (first %)) (repeatedly #(frames/receive! conn)))))}]
    (let [drains (atom 0) channel (promise) closed (promise)]
      (wire/with-server [{:keys [port]}
                         #(server/as-channel % {:max-pending-bytes limit :on-overflow :reject
                                                :on-open  (fn [ch] (deliver channel ch))
                                                :on-close (fn [_ _] (deliver closed true))
                                                :on-drain (fn [_] (swap! drains inc))})
                         {}]
        (let [conn (wire/upgrade port)
              ch   (wire/outcome channel)]
          (accepted ch)
          (leave conn ch)
          (is (true? (wire/outcome closed)))
          (wire/disconnect conn)))
      ;; The server has stopped: nothing can come after.
      (is (zero? (long @drains)) about))))

(deftest a-slow-on-drain-delays-no-other-channel
  (let [go-on (promise) channels (atom []) drained (promise)]
    (wire/with-server [{:keys [port]}
                       #(server/as-channel % {:max-pending-bytes limit :on-overflow :reject
                                              :on-open  (fn [ch] (swap! channels conj ch))
                                              :on-drain (fn [ch]
                                                          (if (= ch (first @channels))
                                                            (deref go-on (* 2 (long wire/patience-ms)) nil)
                                                            (deliver drained true)))})
                       {}]
      (let [conns (vec (for [n [1 2]]
                         (let [conn (wire/upgrade port)]
                           (is (wire/eventually #(= n (count @channels))))
                           conn)))]
        (doseq [[conn ch] (map vector conns @channels)]
          (dotimes [_ (accepted ch)] (frames/receive! conn)))
        (is (true? (wire/outcome drained)))
        (deliver go-on true)
        (run! wire/disconnect conns)))))

(deftest block-lets-the-sender-wait
  (doseq [[kind where] everywhere]
    (held-open kind where {:on-overflow :block}
      (fn [{:keys [ch conn heard]}]
        (let [sent  (atom 0)
              runs  (future (dotimes [_ 300] (when (server/send! ch piece false) (swap! sent inc))))]
          (is (wire/settled 300 #(deref sent)))
          (is (< (long @sent) 300))
          (is (<= (long (server/pending-bytes ch)) (+ limit 66000)))
          (if (= kind :http)
            (do (future (wire/outcome runs) (server/close ch))
                (is (= {:complete? true :chunks (repeat 300 65536)}
                       (select-keys (wire/read-body! conn {:status 200 :headers {"transfer-encoding" "chunked"}})
                                    [:complete? :chunks]))))
            (is (= {[:text [65536 (second (frames/summary (.getBytes ^String piece)))]] 300}
                   (frequencies (repeatedly 300 #(frames/receive! conn))))))
          (wire/outcome runs)
          (is (= 300 @sent))
          (is (<= (count @heard) 1)))))))

(deftest a-blocked-sender-is-released-when-the-channel-ends
  (doseq [kind  [:http :websocket]
          [about end] {"peer closes" (fn [{:keys [conn]}] (wire/disconnect conn))
                       "half-close"  (fn [{:keys [conn]}] (wire/half-close conn))
                       "peer resets" (fn [{:keys [conn]}] (wire/reset conn))
                       "abort"       (fn [{:keys [^AsyncChannel ch]}] (.abort ch))}]
    (held-open kind :as-channel {:on-overflow :block}
      (fn [{:keys [ch heard] :as all}]
        (let [runs (future (accepted ch))]
          (is (wire/eventually #(<= limit (long (server/pending-bytes ch)))))
          (end all)
          (is (not= :late (wire/outcome runs)) about)
          (is (false? (server/send! ch "late" false)))
          (is (wire/eventually #(= 1 (count @heard)))))))))

(deftest closing-does-not-wait-for-a-blocked-sender
  (doseq [kind [:http :websocket]]
    (held-open kind :as-channel {:on-overflow :block}
      (fn [{:keys [ch heard]}]
        (let [runs (future (accepted ch))]
          (is (wire/eventually #(<= limit (long (server/pending-bytes ch)))))
          (is (true? (wire/outcome (future (server/close ch)))) kind)
          (is (= [:server-close] @heard))
          (is (not= :late (wire/outcome runs)) "its send is refused")
          (is (false? (server/send! ch "late" false))))))))

(deftest a-callback-that-is-blocked-sending-ends-with-its-channel
  (let [channel (promise) result (promise)]
    (wire/with-server [{:keys [port]}
                       #(server/as-channel % {:max-pending-bytes limit :on-overflow :block
                                              :on-open    (fn [ch] (deliver channel ch))
                                              :on-receive (fn [ch _] (accepted ch) (deliver result (server/send! ch "late")))})
                       {}]
      (let [conn (wire/upgrade port)
            ch   (wire/outcome channel)]
        (send-frames! conn [:text "go"])
        (is (wire/eventually #(<= limit (long (server/pending-bytes ch)))))
        (is (true? (server/close ch)))
        (is (false? (wire/outcome result)))
        (wire/disconnect conn)))))

(deftest an-interrupted-sender-gives-up-and-cuts-the-connection
  (held-open :websocket :as-channel {:on-overflow :block}
    (fn [{:keys [ch conn]}]
      (let [interrupted? (promise)
            sender       (Thread. #(do (accepted ch) (deliver interrupted? (Thread/interrupted))))]
        (.start sender)
        (is (wire/eventually #(<= limit (long (server/pending-bytes ch)))))
        (.interrupt sender)
        (is (true? (wire/outcome interrupted?)) "and stays interrupted")
        (is (wire/eventually #(not (server/open? ch))))
        (is (some? conn))))))

(deftest the-default-refuses-nothing-below-sixteen-megabytes
  (let [channel (promise)]
    (wire/with-server [{:keys [port]} #(server/as-channel % {:on-open (fn [ch] (deliver channel ch))}) {}]
      (let [conn (wire/upgrade port)
            ch   (wire/outcome channel)
            n    (accepted ch)]
        (is (<= 256 (long n) 1000))
        (is (false? (server/open? ch)))
        (wire/disconnect conn)))))

(deftest a-flood-for-a-slow-callback-is-delivered-whole-and-in-order
  (let [seen (atom []) go-on (promise) n 20000]
    (wire/with-server [{:keys [port]}
                       #(server/as-channel % {:on-receive (fn [_ message] (wire/outcome go-on) (swap! seen conj message))})
                       {:max-pending-messages 16}]
      (let [conn   (wire/upgrade port)
            filler (apply str (repeat 2000 \f))
            flood  (future (doseq [batch (partition-all 50 (range n))]
                             (frames/send! conn (map #(vector :text (str % filler)) batch) nil)))]
        (is (= ::blocked (deref flood 1500 ::blocked)) "the server has stopped reading: 40 MB do not fit elsewhere")
        (deliver go-on true)
        (is (wire/eventually #(= n (count @seen))))
        (is (= (range n) (map #(Long/parseLong (subs % 0 (str/index-of % "f"))) @seen)))
        (is (not= :late (wire/outcome flood)))
        (wire/disconnect conn)))))

(deftest a-peer-that-pings-without-reading-is-not-read-for-long
  (wire/with-server [{:keys [port]} #(server/as-channel % {}) {}]
    (let [conn  (wire/upgrade port)
          ping  [:ping {:of "p" :times 125}]
          flood (future (dotimes [_ 2000] (frames/send! conn (repeat 100 ping) nil)))]
      (is (= ::blocked (deref flood 1500 ::blocked)) "26 MB of pings")
      (wire/reset conn) ; To close a TLS socket orderly waits for its blocked writer.
      (is (not= :late (wire/outcome flood))))))

(deftest a-closed-peer-that-is-no-longer-read-is-cut-in-bounded-time
  (doseq [frame [[:ping {:of "p" :times 125}] [:text {:of "t" :times 125}]]]
    (let [channel (promise) go-on (promise)]
      (wire/with-server [{:keys [port]}
                         #(server/as-channel % {:on-open    (fn [ch] (deliver channel ch))
                                                :on-receive (fn [_ _] (deref go-on (* 2 (long wire/patience-ms)) nil))})
                         {}]
        (let [conn  (wire/upgrade port)
              ended (promise)
              bytes (byte-array (mapcat seq (repeat 100 (first (frames/frame-bytes frame)))))
              flood (future (try (dotimes [_ 10000]
                                   (.write ^java.io.OutputStream (:out conn) bytes))
                                 (catch java.io.IOException _ (deliver ended true))))]
          (is (= ::blocked (deref flood 1500 ::blocked)))
          (is (true? (server/close (wire/outcome channel))))
          (is (true? (wire/outcome ended)) (first frame))
          (deliver go-on true)
          (wire/disconnect conn))))))

(deftest a-peer-that-has-pinged-may-send-while-it-does-not-read
  ;; Many clients write all they have before they read.
  (let [seen (atom 0) sent (promise)]
    (wire/with-server [{:keys [port]}
                       #(server/as-channel % {:on-receive (fn [ch message]
                                                            (when (= "start" message)
                                                              (server/send! ch (apply str (repeat 8000000 \x)))
                                                              (deliver sent true))
                                                            (swap! seen inc))})
                       {}]
      (let [conn (wire/upgrade port)]
        (send-frames! conn [:ping "p"] [:text "start"])
        (is (true? (wire/outcome sent)))
        (let [upload (future (dotimes [_ 100] (send-frames! conn [:text {:of "u" :times 100000}])))]
          (is (not= :late (wire/outcome upload)))
          (is (wire/eventually #(= 101 @seen))))
        (wire/disconnect conn)))))

;;; Claims about a whole process

(def ^:private megabyte 1048576)

(defn- report
  "What a script prints as its last line, run in a JVM with a heap of 128 MB."
  [script]
  (let [{:keys [out]} (subprocess/run (pr-str (list 'do '(require '[httpkit.channel-wire :as wire]
                                                                  '[httpkit.ws-wire :as frames]
                                                                  '[org.httpkit.server :as server])
                                                    script '(System/exit 0)))
                                      :jvm-args ["-Xmx128m" "-XX:+UseSerialGC" "--enable-native-access=ALL-UNNAMED"
                                                 ;; Not unpacked again: a debug build is half as big as that heap.
                                                 (str "-Dhttp-kit.native.path=" (get (NativeLibrary/info) "file"))])]
    (try (edn/read-string (last (str/split-lines out)))
         (catch RuntimeException _ {:out out}))))

(deftest a-hundred-peers-that-do-not-read-cost-what-the-limit-says
  (let [{:keys [accepted grown heap] :as all}
        (report '(let [channels (atom [])]
                   (wire/with-server [{:keys [port]}
                                      #(server/as-channel % {:on-open (fn [ch] (swap! channels conj ch))})
                                      {:max-pending-bytes 262144 :on-overflow :reject}]
                     (let [conns  (vec (repeatedly 100 #(wire/upgrade port)))
                           piece  (byte-array 65536)
                           _      (wire/eventually #(= 100 (count @channels)))
                           before (wire/resident-bytes)
                           sent   (reduce + (for [_ (range 100) ch @channels] (if (server/send! ch piece) 1 0)))]
                       (prn {:accepted sent :grown (- (wire/resident-bytes) before) :heap (wire/heap-bytes)
                             :pending (reduce + (map server/pending-bytes @channels)) :conns (count conns)})))))]
    (is (pos? (long (or accepted 0))) (pr-str all))
    (is (< (long (or accepted 10000)) 10000) "of 10,000")
    ;; 100 times the limit and one piece each is 32 MB; the rest is the JVM's own.
    (is (< (long (or grown Long/MAX_VALUE)) (* 100 megabyte)) (pr-str all))
    (is (< (long (or heap Long/MAX_VALUE)) (* 64 megabyte)) (pr-str all))))

(deftest a-flood-of-messages-leaves-memory-flat
  (let [{:keys [seen grown heap] :as all}
        (report '(let [seen (atom 0)]
                   (wire/with-server [{:keys [port]}
                                      #(server/as-channel % {:on-receive (fn [_ _]
                                                                           (when (zero? (mod (swap! seen inc) 100))
                                                                             (Thread/sleep 10)))})
                                      {}]
                     (let [conn  (wire/upgrade port)
                           frame (first (frames/frame-bytes [:text {:of "m" :times 20000}]))
                           round (fn [n] (dotimes [_ n] (.write ^java.io.OutputStream (:out conn) ^bytes frame)))]
                       (round 500)
                       (let [before (wire/resident-bytes)]
                         (round 10000)
                         (let [grown (- (wire/resident-bytes) before)]
                           (wire/eventually #(= 10500 @seen))
                           (prn {:seen @seen :grown grown :heap (wire/heap-bytes)})))))))]
    (is (= 10500 seen) (pr-str all))
    (is (< (long (or grown Long/MAX_VALUE)) (* 100 megabyte)) (str "of 200 MB " (pr-str all)))
    (is (< (long (or heap Long/MAX_VALUE)) (* 64 megabyte)) (pr-str all))))

(deftest long-bodies-for-slow-readers-leave-memory-flat
  (let [{:keys [file stream streamed sequence grown heap] :as all}
        (report '(let [file    (doto (java.io.File/createTempFile "sparse" ".bin") .deleteOnExit)
                       reads   (atom 0)
                       endless (fn [] (proxy [java.io.InputStream] []
                                        (read ([] 1)
                                          ([b] (swap! reads + (alength ^bytes b)) (alength ^bytes b))
                                          ([_ _ n] (swap! reads + n) n))))
                       text    (apply str (repeat 1000 "0123456789"))]
                   (with-open [raf (java.io.RandomAccessFile. file "rw")]
                     (.setLength raf 1073741824))
                   (wire/with-server [{:keys [port]}
                                      (fn [{:keys [uri]}]
                                        {:body (case uri
                                                 "/file"   file
                                                 "/seq"    (map (fn [n] (str (+ 10000 n) (subs text 5))) (range 20000))
                                                 "/stream" (endless))})
                                      {}]
                     (let [skipped (fn [conn n]
                                     (let [buffer (byte-array 262144)]
                                       (loop [left n]
                                         (if (pos? left)
                                           (let [got (.read ^java.io.InputStream (:in conn) buffer 0 (min left 262144))]
                                             (if (neg? got) (- n left) (recur (- left got))))
                                           n))))
                           fetch   (fn [uri n]
                                     (let [conn (wire/connect port)]
                                       (wire/write! conn (wire/get-request uri))
                                       (wire/read-head! conn)
                                       (let [got (skipped conn n)]
                                         (wire/disconnect conn)
                                         got)))
                           _       (fetch "/file" 1000000)
                           before  (wire/resident-bytes)
                           results {:file (fetch "/file" 1073741824) :stream (fetch "/stream" 300000000)
                                    :sequence (fetch "/seq" 200000000)}
                           stuck   (vec (for [uri ["/file" "/stream"]]
                                          (doto (wire/connect port :receive-buffer 4096)
                                            (wire/write! (wire/get-request uri)))))
                           stopped (wire/settled 200 #(deref reads))]
                       (prn (assoc results :streamed (boolean stopped) :grown (- (wire/resident-bytes) before)
                                   :heap (wire/heap-bytes) :stuck (count stuck)))))))]
    (is (= 1073741824 file) (pr-str all))
    (is (= 300000000 stream))
    (is (true? streamed) "the source of the slow reader is left alone")
    (is (= 200000000 sequence) "a lazy seq longer than the heap")
    (is (< (long (or grown Long/MAX_VALUE)) (* 150 megabyte)) (pr-str all))
    (is (< (long (or heap Long/MAX_VALUE)) (* 64 megabyte)) (pr-str all))))

(deftest blocked-senders-on-virtual-threads-pin-no-carrier
  (if-let [executor (try (.invoke (.getMethod java.util.concurrent.Executors "newVirtualThreadPerTaskExecutor"
                                              (make-array Class 0))
                                  nil (object-array 0))
                         (catch NoSuchMethodException _ nil))]
    (let [channels (atom [])
          ^java.util.concurrent.ExecutorService executor executor
          senders (* 4 (.availableProcessors (Runtime/getRuntime)))]
      (wire/with-server [{:keys [port]}
                         #(server/as-channel % {:on-open (fn [ch] (swap! channels conj ch))
                                                :max-pending-bytes limit :on-overflow :block})
                         {}]
        (let [conns (vec (repeatedly senders #(wire/upgrade port)))]
          (is (wire/eventually #(= senders (count @channels))))
          (doseq [ch @channels] (.submit executor ^Runnable (fn [] (accepted ch))))
          (is (wire/eventually #(every? (fn [ch] (<= limit (long (server/pending-bytes ch)))) @channels)))
          (let [free (CountDownLatch. 1)]
            (.submit executor ^Runnable (fn [] (.countDown free)))
            (is (.await free wire/patience-ms java.util.concurrent.TimeUnit/MILLISECONDS)
                "a carrier is free for another virtual thread"))
          (run! wire/reset conns)))
      (.shutdown executor))
    (println "not tested: this JVM has no virtual threads")))
