(ns httpkit.stream-judges
  "Figures of streams, `./dev stream-judges`: the delay of events, stalled uploads, memory and bytes of compressed streams.
  It prints all of them; a machine that does other things meanwhile shows in the largest ones."
  (:require [clojure.edn          :as edn]
            [clojure.test         :refer [deftest is testing]]
            [httpkit.event-delays :as event-delays]
            [httpkit.subprocess   :as subprocess]
            [httpkit.wire         :as wire]
            [org.httpkit.utils    :as utils])
  (:import (java.io Closeable InputStream)
           (java.lang.management ManagementFactory)
           (java.nio.file Files Path)
           (java.time Duration)))

(set! *warn-on-reflection* true)

(def ^:private n "Uploads, and streams." 1000)

(defn- call-with-server
  "Calls `f` with the process of a server that has these options, and its port."
  [options f]
  (subprocess/call-with-server
    (str "(require 'httpkit.stream-judges-server) (httpkit.stream-judges-server/-main " (pr-str (pr-str options)) ")")
    ["-Xms256m" "-Xmx256m" "-XX:+AlwaysPreTouch" "-XX:+UseSerialGC"
     (str "-Dhttp-kit.native.path=" (:file (utils/native-info)))]
    f))

(defn- state [port]
  (edn/read-string (:body (wire/fetch port "/state"))))

(defn- report [what values]
  (let [sorted (vec (sort values))
        at     (fn [share] (double (nth sorted (min (dec (count sorted)) (long (* (double share) (count sorted)))))))]
    (println (format "%s: median %.2f ms, 99 %% %.2f, longest %.2f, %d of %d within 5 ms (load %.1f)"
               what (at 0.5) (at 0.99) (at 1) (count (filter #(<= (double %) 5.0) sorted)) (count sorted)
               (.getSystemLoadAverage (ManagementFactory/getOperatingSystemMXBean))))
    {:median (at 0.5) :p99 (at 0.99)}))

;;;; Delay

(deftest events-are-readable-within-5-ms
  (doseq [[encoding compression] {"identity" false "gzip" true}]
    (call-with-server {:compression compression}
      (fn [_ port]
        (doseq [[reader delays] event-delays/readers]
          (testing (str reader " " encoding)
            (delays (str "http://127.0.0.1:" port "/clock") encoding) ; What the JVM and the reader load at first.
            (wire/fetch port "/longest-send")
            (let [found (delays (str "http://127.0.0.1:" port "/clock") encoding)]
              (is (= 300 (count found)))
              (is (> 5.0 (double (:median (report (str "events, " reader ", " encoding) found)))))
              (println "  the longest send! of them, which writes to the socket:"
                (format "%.2f ms" (parse-double (:body (wire/fetch port "/longest-send"))))))))))))

;;;; Uploads that stall

(defn- beside [what port]
  (let [times (doall (for [_ (range 300)]
                       (let [start (System/nanoTime)]
                         (is (= "ok" (:body (wire/fetch port "/"))))
                         (/ (- (System/nanoTime) start) 1e6))))]
    (is (> 50.0 (double (:p99 (report what times)))))))

(deftest a-get-beside-a-thousand-stalled-uploads-takes-less-than-50-ms
  (let [virtual? (<= 21 (.feature (Runtime/version)))
        half     (apply str (repeat 20000 "x"))]
    (call-with-server (if virtual? {:request-buffer-size 16384} {:request-buffer-size nil})
      (fn [_ port]
        (beside "GET without uploads" port)
        (let [conns (doall (repeatedly n #(doto (wire/connect port)
                                            (wire/send! (str "POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n" half)))))]
          (try
            ;; Whole bodies have no handler until they are there.
            (is (wire/eventually #(= (if virtual? n 0) (:uploads (state port)))))
            (beside (format "GET beside %d stalled uploads, Java %s, :request-buffer-size %s"
                      n (System/getProperty "java.version") (if virtual? 16384 nil))
              port)
            (doseq [conn conns] (wire/send! conn half))
            (doseq [conn conns] (is (= "40000" (:body (wire/answer conn)))))
            (finally (run! #(.close ^Closeable %) conns))))))))

;;;; Memory and bytes

(defn- open-streams! [port n encoding]
  (let [conns (doall (repeatedly n #(doto (wire/connect port)
                                      (wire/send! (wire/get-request "/events" ["Accept-Encoding" encoding])))))]
    (is (wire/eventually #(= n (:streams (state port)))))
    conns))

(defn- drain!
  "Reads what arrives on all connections, until nothing has for half a second; returns how many bytes."
  ^long [conns]
  (let [buffer (byte-array 65536)]
    (loop [sum 0, quiet 0]
      (let [got (long (reduce (fn [sum {:keys [^InputStream in]}]
                                (+ (long sum) (if (pos? (.available in)) (.read in buffer) 0)))
                        0 conns))]
        (cond
          (pos? got)   (recur (+ sum got) 0)
          (= quiet 10) sum
          :else        (do (Thread/sleep 50) (recur sum (inc quiet))))))))

(defn- sent!
  "Sends fragments on all streams, half of them to each its own, and returns the bytes that arrive."
  [port conns from to]
  (reduce (fn [sum i]
            (is (= "sent" (:body (wire/fetch port (str (if (even? (long i)) "/own?" "/all?") i)))))
            ;; As often as a reader would look.
            (+ (long sum) (if (zero? (rem (long i) 10)) (drain! conns) 0)))
    (drain! conns) (range from to)))

(defn- held
  "Resident bytes beside the heap, which is resident from the start, and the heap's, once both have come to rest."
  [^Process process port]
  (Thread/sleep 2500) ; Freed memory is returned one second after it was freed.
  (let [lines (Files/readAllLines (Path/of (str "/proc/" (.pid process) "/status") (make-array String 0)))
        rss   (* 1024 (Long/parseLong (some #(second (re-matches #"VmRSS:\s+(\d+) kB" %)) lines)))]
    (+ rss (long (:heap (state port))))))

(defn- cpu-ms ^long [^Process process]
  (.toMillis ^Duration (.get (.totalCpuDuration (.info process)))))

(defn- measure-streams
  "{:each bytes of memory, :bytes that arrived, :cpu-ms} of streams that are sent fragments 100 to 140."
  [process port encoding]
  ;; Few at a time: what the JVM and the allocator keep of them would hide what the next ones cost.
  (let [warm-up (open-streams! port (quot (long n) 20) encoding)]
    (sent! port warm-up 0 100)
    (run! #(.close ^Closeable %) warm-up)
    (is (wire/eventually #(zero? (long (:streams (state port)))))))
  (let [before (held process port)
        conns  (open-streams! port n encoding)]
    (try
      (drain! conns)
      (let [cpu   (cpu-ms process)
            bytes (sent! port conns 100 140)
            cpu   (- (cpu-ms process) cpu)
            after (held process port)]
        (println (format "%d streams, %s: %.1f KB each, %d bytes for 40 fragments, %d ms of processor time"
                   n encoding (/ (- (long after) (long before)) 1024.0 n) (quot (long bytes) n) cpu))
        {:each (quot (- (long after) (long before)) n) :bytes bytes})
      (finally (run! #(.close ^Closeable %) conns)))))

(deftest a-thousand-compressed-streams-take-at-most-40-kb-each-and-15-percent-of-the-bytes
  (let [[plain compressed] (for [encoding ["identity" "gzip"]]
                             (call-with-server {:compression true} #(measure-streams %1 %2 encoding)))
        share (/ (double (:bytes compressed)) (long (:bytes plain)))]
    (println (format "compressed streams take %.1f %% of the bytes" (* 100 share)))
    (is (> 40960 (long (:each compressed))))
    (is (> 0.15 share))))
