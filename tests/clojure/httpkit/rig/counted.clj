(ns httpkit.rig.counted
  "After 100,000 requests with faults, a server's statistics and its access log say what its clients counted. Figures are
  printed. `./dev rig` runs it."
  (:require [clojure.java.io     :as io]
            [clojure.string      :as str]
            [clojure.test        :refer [deftest is]]
            [httpkit.rig.process :as process]
            [httpkit.wire        :as wire])
  (:import (java.io BufferedInputStream Closeable File InputStream RandomAccessFile)
           (java.net Socket)
           (java.util.concurrent.atomic AtomicLong)))

(set! *warn-on-reflection* true)

(def ^:private ^{:doc "At least."} least 100000)

(def ^:private ways
  "[what is sent, status]; those with HEAD have no body."
  [[(wire/get-request "/") 200]
   [(wire/get-request "/json?1") 200]
   ["HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" 200]
   ["POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" 200]
   ["POST /sum HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" 200]
   [(wire/get-request "/chunks?2") 200]
   [(wire/get-request "/nowhere") 404]
   [(wire/get-request "/throw") 500]])

(def ^:private ends
  "How a connection ends: [what is sent, status, :none if a request gets no response, :cut if its client leaves within
  it, or nil if it is no request]."
  [["nonsense\r\n\r\n" 400]
   ["GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n" 400]
   [(wire/get-request "/aborted") :none]
   ["GET /half" nil]
   ["POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe" :cut]
   ["" nil]])

(def ^:private per-connection 96)

(defn- counting
  "A connection that counts what it reads."
  [{:keys [^Socket socket] :as conn} ^AtomicLong read]
  (let [in (.getInputStream socket)]
    (assoc conn :in (BufferedInputStream.
                      (proxy [InputStream] []
                        (read
                          ([] (let [b (.read in)] (when-not (neg? b) (.incrementAndGet read)) b))
                          ([bytes at n] (let [n (.read in ^bytes bytes (int at) (int n))]
                                          (when (pos? n) (.addAndGet read n))
                                          n))))
                      65536))))

(defn- use-connection
  "Sends a pipeline, reads all responses, and ends in one way; counts it all."
  [port asked [end ending] {:keys [statuses in out]}]
  (with-open [^Closeable conn (wire/connect port)]
    (let [conn  (counting conn out)
          send! (fn [^String text]
                  (wire/send! conn text)
                  (.addAndGet ^AtomicLong in (count text)))]
      (send! (str/join (map first asked)))
      (doseq [[text status] asked]
        (is (= status (:status (wire/answer conn :head? (str/starts-with? text "HEAD")))) text))
      ;; Only now: a reset takes with it what has not been read.
      (send! end)
      (case ending
        400   (do (is (= 400 (:status (wire/answer conn)))) (is (wire/closed? conn)))
        :none (is (wire/closed? conn))
        (:cut nil) nil)
      (swap! statuses #(merge-with + % (frequencies (cond-> (mapv second asked) ending (conj (if (= :cut ending) :none ending)))))))))

(defn- line-counter
  "A function that returns how many lines a file has."
  [^File file]
  (let [file (RandomAccessFile. file "r"), buffer (byte-array 65536), lines (volatile! 0)]
    (fn []
      (locking file
        (loop [n (.read file buffer)]
          (when (pos? n)
            (dotimes [i n] (when (= 10 (aget buffer i)) (vswap! lines inc)))
            (recur (.read file buffer))))
        @lines))))

(defn- clients [port lines counts]
  (let [left (AtomicLong. (inc (quot (long least) (long per-connection))))]
    (->> (range 4)
         (mapv (fn [seed]
                 (let [random (java.util.Random. (long seed))
                       any    #(nth % (.nextInt random (count %)))]
                   (future
                     (while (not (neg? (.decrementAndGet left)))
                       ;; What is logged faster than it is written is lost, and counted.
                       (wire/eventually #(> 4096 (- (long (reduce + (vals @(:statuses counts)))) (long (lines)))))
                       (use-connection port (vec (repeatedly per-connection #(any ways))) (any ends) counts))))))
         (run! deref))))

(defn- log-statuses
  "How often each status is in a log of the combined format; 499 is a request that got no response."
  [file]
  (with-open [in (io/reader file)]
    (frequencies (map #(let [status (Long/parseLong (second (re-find #"\" (\d{3}) (?:-|\d+) \"" %)))]
                         (if (= 499 status) :none status))
                      (line-seq in)))))

(deftest statistics-and-access-log-are-what-clients-counted-after-100000-requests-with-faults
  (let [file   (doto (File/createTempFile "rig" ".access.log") .deleteOnExit)
        counts {:statuses (atom {}) :in (AtomicLong.) :out (AtomicLong.)}]
    (with-open [site (process/start {:access-log (str file)})]
      (clients (:port site) (line-counter file) counts)
      (let [seen    @(:statuses counts)
            total   (long (reduce + (vals seen)))
            state   (fn [] (:stats (process/ask site "state")))
            over?   #(let [{:keys [connections access-log]} (state)]
                       (and (= 0 (:open connections)) (= total (:entries access-log))))
            _       (is (wire/eventually over?))
            {:keys [requests bytes access-log]} (state)
            logged  (do (wire/eventually #(= (:entries access-log) (reduce + (vals (log-statuses file)))))
                        (log-statuses file))]
        (println "counted:" total "requests," seen "; the server counted" requests "and bytes" (select-keys bytes [:in :out])
                 "; lines in the access log" (reduce + (vals logged)) logged ", lost" (:lost access-log))
        (is (<= (long least) total))
        (is (= {:total total :active 0 :rejected 0
                :by-status (reduce-kv #(merge-with + %1 {(quot (long %2) 100) %3}) {} (dissoc seen :none))}
               requests))
        (is (= [(.get ^AtomicLong (:in counts)) (.get ^AtomicLong (:out counts))] [(:in bytes) (:out bytes)]))
        (is (= 0 (:lost access-log)))
        (is (= seen logged))))
    (.delete file)))
