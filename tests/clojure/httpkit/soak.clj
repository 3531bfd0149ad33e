(ns httpkit.soak
  "A server under connections of every kind, good and bad: nothing may leak, and every answer must be its own.

     java -cp ... clojure.main -m httpkit.soak [requests] [seed]     default 100000, and a seed from the clock

  Prints what it did and exits with 1 if something leaked or an answer was wrong. With the seed of a run that
  failed each client does the same again; how their steps interleave is up to the machine."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.io Closeable IOException)
           (java.lang.management ManagementFactory)
           (java.nio.file Files Path)
           (java.util SplittableRandom)
           (java.util.concurrent.atomic AtomicLong LongAdder)
           (org.httpkit.jni Native)))

(set! *warn-on-reflection* true)

;; The server

(defn- handler [^LongAdder served]
  (fn [{:keys [uri body query-string websocket?] :as req}]
    (.increment served)
    (cond
      websocket?         (server/as-channel req {:on-receive (fn [ch message] (server/send! ch message))})
      (= "/echo" uri)    {:status 200 :body body}
      (= "/throw" uri)   (throw (ex-info query-string {}))
      (= "/stream" uri)  (server/as-channel req {:on-open (fn [ch]
                                                            (doseq [part (str/split query-string #"")]
                                                              (server/send! ch part false))
                                                            (server/close ch))})
      (= "/later" uri)   (server/as-channel req {:on-open (fn [ch] (future (server/send! ch query-string)))})
      (= "/held" uri)    (server/as-channel req {})
      (= "/big" uri)     {:status 200 :body (byte-array 200000 (byte 120))}
      :else              {:status 200 :body query-string})))

;; Its clients. Each kind gets a connection, a source of random numbers and a way to complain, and returns the
;; number of requests it has made.

(defn- number ^long [^SplittableRandom random bound] (.nextInt random (int bound)))

(defn- choice [random things] (nth things (number random (count things))))

(def ^:private ids (AtomicLong.))

(defn- id [] (str "id" (.incrementAndGet ^AtomicLong ids)))

(defn- request
  "A random request for `id`, and the status and body of its answer."
  [random id]
  (case (int (number random 6))
    0 [(wire/get-request (str "/stream?" id)) 200 id]
    1 [(wire/get-request (str "/later?" id)) 200 id]
    2 [(wire/get-request (str "/throw?" id)) 500 id]
    3 [(str "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: " (count id) "\r\n\r\n" id) 200 id]
    4 (let [text (apply str (repeat (inc (number random 3000)) id))
            size (inc (number random 5000))]
        [(str "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
              (str/join (for [chunk (partition-all size text)]
                          (str (Integer/toHexString (count chunk)) "\r\n" (apply str chunk) "\r\n")))
              "0\r\n\r\n")
         200 text])
    5 [(wire/get-request (str "/?" id)) 200 id]))

(defn- brief [text]
  (if (< 100 (count text)) (str (subs text 0 100) "... " (count text)) text))

(defn- check [complain conn [_ status body]]
  (let [answer (wire/answer conn)]
    (when-not (= [status body] [(:status answer) (:body answer)])
      (complain {:expected [status (brief body)] :answer (update answer :body brief)}))))

(defn- keep-alive [conn random complain]
  (let [n (inc (number random 30))]
    (dotimes [_ n]
      (let [[text :as expected] (request random (id))]
        (wire/send! conn text)
        (check complain conn expected)))
    n))

(defn- pipelined [conn random complain]
  (let [requests (vec (repeatedly (inc (number random 40)) #(request random (id))))
        sender   (future (apply wire/send! conn (map first requests)))]
    (run! (partial check complain conn) requests)
    @sender
    (count requests)))

(defn- end! [conn random]
  (case (int (number random 3))
    0 (.close ^Closeable conn)
    1 (wire/reset!! conn)
    2 (do (wire/half-close! conn) (wire/read-rest conn))))

(defn- aborted
  "Ends at a random point: within a request, before its answer, or within that."
  [conn random _]
  (let [text (choice random [(first (request random (id)))
                             (wire/get-request "/big")
                             (wire/get-request "/held")
                             "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 8000000\r\n\r\nshort"
                             "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n7fffff\r\nshort"
                             "BAD REQUEST LINE\r\n\r\n"])
        cut  (inc (number random (count text)))]
    (wire/send! conn (subs text 0 cut))
    (when (and (= cut (count text)) (str/includes? text "/big"))
      (dotimes [_ (number random 2000)] (wire/read-byte conn)))
    (if (str/includes? text "/held")
      (.close ^Closeable conn)
      (end! conn random))
    1))

(def ^:private handshake
  (wire/get-request "/ws" ["Upgrade" "websocket"] ["Connection" "Upgrade"] ["Sec-WebSocket-Version" "13"]
                    ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="]))

(defn- broken-handshake
  "A handshake, whole or in part, and then nothing more."
  [conn random _]
  (let [cut (if (zero? (number random 2)) (inc (number random (dec (count handshake)))) (count handshake))]
    (wire/send! conn (subs handshake 0 cut))
    (end! conn random)
    1))

(defn- echoing-web-socket [conn random complain]
  (wire/send! conn handshake)
  (if (not= 101 (:status (wire/read-head conn)))
    (complain {:expected 101})
    (dotimes [_ (number random 10)]
      (let [text  (id)
            frame (byte-array (concat [(unchecked-byte 0x81) (unchecked-byte (bit-or 0x80 (count text))) 0 0 0 0]
                                      (wire/latin1 text)))]
        (wire/send! conn frame)
        (let [echo (vec (repeatedly (+ 2 (count text)) #(wire/read-byte conn)))]
          (when-not (= echo (into [0x81 (count text)] (wire/latin1 text)))
            (complain {:expected text :frame echo}))))))
  (if (zero? (number random 2)) (wire/reset!! conn) (.close ^Closeable conn))
  1)

(def ^:private kinds
  "Each as often as it stands here."
  [keep-alive keep-alive keep-alive pipelined pipelined aborted aborted aborted broken-handshake echoing-web-socket])

(defn- client
  "Makes connections until `goal` requests are made by all clients together."
  [port ^LongAdder made goal seed complain]
  (let [random (SplittableRandom. (long seed))]
    (while (< (.sum made) (long goal))
      (let [kind (choice random kinds)]
        (try
          (with-open [conn (wire/connect port)]
            (.add made (long (kind conn random complain))))
          ;; Whoever aborts may be hit by the reset himself.
          (catch IOException e
            (when-not (#{aborted broken-handshake echoing-web-socket} kind) (complain {:thrown e})))
          (catch clojure.lang.ExceptionInfo e
            (complain {:thrown e})))))))

;; What must not grow

(defn- status-kb
  "A number of /proc/self/status, in kB."
  [field]
  (let [lines (Files/readAllLines (Path/of "/proc/self/status" (make-array String 0)))]
    (some #(some-> (re-matches (re-pattern (str field ":\\s+(\\d+) kB")) %) second (Long/parseLong)) lines)))

(defn descriptors [] (count (.list (io/file "/proc/self/fd"))))

(defn- off-heap-now []
  (- (long (status-kb "VmRSS"))
     (quot (.getCommitted (.getHeapMemoryUsage (ManagementFactory/getMemoryMXBean))) 1024)))

(defn off-heap-kb
  "Resident memory that is not the Java heap. G1 counts heap as given back before it gives it back, a little at a
  time: the number is taken once it has not fallen for a second."
  []
  (System/gc)
  (loop [least (off-heap-now) quiet 0 tries 100]
    (if (or (= quiet 10) (zero? tries))
      least
      (let [_   (Thread/sleep 100)
            now (off-heap-now)]
        (if (< (long now) (long least))
          (recur now 0 (dec tries))
          (recur least (inc quiet) (dec tries)))))))

(defn- threads
  "How many threads of servers there are."
  []
  (count (filter #(re-find #"^(server-|http-kit-server)" (.getName ^Thread %)) (keys (Thread/getAllStackTraces)))))

(defn- run-clients [port made goal seed complain]
  (run! deref (mapv #(future (client port made goal (+ (long seed) (long %)) complain)) (range 4))))

(defn run
  "Serves `requests` requests; `options` is a function, since a server takes its pool with it. {:requests :wrong :descriptors :handles :threads :off-heap-kb :seconds}, the middle
  four as [before after]; `:wrong` holds the first ten complaints."
  [{:keys [requests seed options]}]
  (let [started  (System/nanoTime)
        served   (LongAdder.)
        made     (LongAdder.)
        wrong    (atom [])
        complain (fn [complaint] (swap! wrong #(if (< (count %) 10) (conj % complaint) %)))
        warm-up  (fn [port n] (run-clients port (LongAdder.) n (inc (long seed)) complain))
        ;; Once beforehand, so that pools and classes are there when we start to count.
        _        (wire/with-server [{:keys [port]} (handler served) (options)] (warm-up port 200))
        before   {:handles (Native/liveHandles) :threads (threads) :descriptors (descriptors)}
        memory   (wire/with-server [{:keys [port]} (handler served) (options)]
                   (warm-up port (quot (long requests) 3))
                   (let [warm (off-heap-kb)]
                     (run-clients port made requests seed complain)
                     ;; Every connection is gone, and what hung on it with it.
                     (when-not (wire/eventually #(= (inc (long (:handles before))) (Native/liveHandles)))
                       (complain {:handles-while-running (Native/liveHandles)}))
                     [warm (off-heap-kb)]))]
    (wire/eventually #(and (= (:handles before) (Native/liveHandles))
                           (= (:descriptors before) (descriptors))
                           (<= (long (threads)) (long (:threads before)))))
    {:requests    (.sum made)
     :served      (.sum served)
     :wrong       @wrong
     :handles     [(:handles before) (Native/liveHandles)]
     :descriptors [(:descriptors before) (descriptors)]
     :threads     [(:threads before) (threads)]
     :off-heap-kb memory
     :seconds     (quot (- (System/nanoTime) started) 1000000000)}))

(defn failures
  "What is wrong with a result of `run`, as strings. `slack-kb`: the JIT compiler and the allocator's caches grow for
  a while, what leaks per request does not stop."
  [slack-kb {:keys [wrong handles descriptors threads off-heap-kb]}]
  (let [grew (fn [name [before after] slack]
               (when (> (long after) (+ (long before) (long slack)))
                 (str name " grew from " before " to " after)))]
    (remove nil? [(when (seq wrong) (str "wrong answers: " (pr-str wrong)))
                  (grew "handles" handles 0)
                  (grew "descriptors" descriptors 0)
                  (grew "threads" threads 0)
                  (grew "off-heap kB" off-heap-kb slack-kb)])))

(defn -main [& [requests seed]]
  (let [seed   (if seed (Long/parseLong seed) (System/nanoTime))
        _      (println "seed" seed)
        result (run {:requests (if requests (Long/parseLong requests) 100000) :seed seed :options (constantly {})})
        bad    (failures (* 40 1024) result)]
    (println result)
    (run! println bad)
    (println (if (seq bad) "0 passed, 1 failed" "1 passed, 0 failed"))
    (shutdown-agents)
    (System/exit (if (seq bad) 1 0))))
