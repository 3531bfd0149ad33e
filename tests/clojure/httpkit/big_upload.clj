(ns httpkit.big-upload
  "Long uploads into a server with a heap of 64 MiB: what its process grows by, and how fast they are.
  `./dev big-upload [GiB]` runs it with long ones, `httpkit.big-upload-test` with short ones."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [httpkit.subprocess :as subprocess]
            [httpkit.wire       :as wire]
            [org.httpkit.utils  :as utils])
  (:import (java.io BufferedReader OutputStream)
           (java.net Socket)
           (java.nio.file Files Path)
           (java.util Arrays)
           (java.util.concurrent.locks LockSupport)))

(set! *warn-on-reflection* true)

(def ^:private piece (doto (byte-array (* 256 1024)) (Arrays/fill (byte 120))))

(defn- resident-kib ^long [^Process process]
  (let [lines (Files/readAllLines (Path/of (str "/proc/" (.pid process) "/status") (make-array String 0)))]
    (Long/parseLong (some #(second (re-matches #"VmRSS:\s+(\d+) kB" %)) lines))))

(defn- sampled
  "Calls `f` and returns its value, and the most memory of the process meanwhile, in KiB beyond that before."
  [process f]
  (let [before (resident-kib process)
        most   (atom before)
        done   (atom false)
        watch  (future (while (not @done)
                         (swap! most max (resident-kib process))
                         (LockSupport/parkNanos 20000000)))]
    (try
      (let [value (f)]
        {:value value, :growth-kib (- (long @most) before)})
      (finally (reset! done true) @watch))))

(defn- send-bytes! [{:keys [^Socket socket]} ^long n]
  (let [out (.getOutputStream socket)]
    (loop [left n]
      (when (pos? left)
        (let [step (min left (alength ^bytes piece))]
          (.write ^OutputStream out ^bytes piece 0 (int step))
          (recur (- left step)))))))

(defn- post! [conn path length & headers]
  (wire/send! conn (str "POST " path " HTTP/1.1\r\nHost: h\r\nContent-Length: " length "\r\n"
                     (str/join (map #(str % "\r\n") headers)) "\r\n")))

(defn- upload
  "The response's body to `n` bytes."
  [port path n]
  (with-open [conn (wire/connect port)]
    (post! conn path n)
    (send-bytes! conn n)
    (:body (wire/answer conn))))

(defn- multipart [port ^long n]
  (let [boundary "----x"
        before   (str "--" boundary "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"big\"\r\n"
                   "Content-Type: application/octet-stream\r\n\r\n")
        after    (str "\r\n--" boundary "--\r\n")]
    (with-open [conn (wire/connect port)]
      (post! conn "/multipart" (+ n (count before) (count after))
        (str "Content-Type: multipart/form-data; boundary=" boundary))
      (wire/send! conn before)
      (send-bytes! conn n)
      (wire/send! conn after)
      (:body (wire/answer conn)))))

(defn- echo
  "How many of `n` bytes come back while they are sent."
  [port ^long n]
  (with-open [conn (wire/connect port)]
    (post! conn "/echo" n)
    (let [sender (future (send-bytes! conn n))]
      (wire/read-head conn)
      (let [came (loop [sum 0]
                   (let [size (Long/parseLong (wire/read-line! conn) 16)]
                     (wire/read-exactly conn (+ 2 size))
                     (if (pos? size) (recur (+ sum size)) sum)))]
        @sender
        came))))

(defn- timed [f]
  (let [start (System/nanoTime)
        value (f)]
    [value (/ (- (System/nanoTime) start) 1e9)]))

(defn measure
  "Uploads of `n` bytes in all ways; `k` of `each` bytes at a time. Returns a map from each way to its :value,
  :expected, :growth-kib and :seconds. `port` may be that of another server for :file."
  [process port n k each]
  (let [way (fn [expected f]
              (let [{[value seconds] :value :as result} (sampled process #(timed f))]
                (assoc result :value value :expected expected :seconds seconds)))]
    ;; The JVM compiles, and its threads' arenas grow.
    (multipart port (min (long n) (* 512 1024 1024)))
    (run! deref (doall (repeatedly (min (long k) 32) #(future (upload port "/count" (* 1024 1024))))))
    (echo port (* 64 1024 1024))
    (upload port "/file" (* 64 1024 1024))
    (array-map
      :multipart (way (str n " " n) #(multipart port n))
      :file      (way (str n) #(upload port "/file" n))
      :parallel  (way (repeat k (str each))
                   #(mapv deref (doall (repeatedly k (fn [] (future (upload port "/count" each)))))))
      :echo      (way (min (long n) (* 1024 1024 1024)) #(echo port (min (long n) (* 1024 1024 1024)))))))

(defn with-process
  "Calls `f` with the process of such a server and its port."
  [f]
  (let [native  (:file (utils/native-info)) ; to unpack one takes more heap than there is
        process (subprocess/start "(require 'httpkit.big-upload-server) (httpkit.big-upload-server/-main)"
                  :jvm-args (cond-> ["-Xmx64m" "-Xms64m" "-XX:+AlwaysPreTouch" (str "-Dhttp-kit.native.path=" native)]
                              (>= (.feature (Runtime/version)) 24) (conj "--enable-native-access=ALL-UNNAMED")))]
    (with-open [out (io/reader (.getInputStream process))]
      (try
        (let [port (Long/parseLong (.readLine ^BufferedReader out))]
          (future (run! println (line-seq out)))
          (f process port))
        (finally (.destroyForcibly process))))))

(defn -main [& [gib]]
  (let [n      (* 1024 1024 1024 (Long/parseLong (or gib "8")))
        result (with-process #(measure %1 %2 n 64 (quot n 8)))
        wrong  (remove (fn [[_ {:keys [value expected]}]] (= value expected)) result)]
    (doseq [[way {:keys [growth-kib seconds]}] result
            :let [bytes (case way :parallel (* 8 n) :echo (min (long n) (* 1024 1024 1024)) n)]]
      (println (format "%-10s %6.1f s  %7.1f MB/s  memory +%d KiB" (name way) seconds (/ bytes seconds 1e6) growth-kib)))
    (let [grown (filter (fn [[way {:keys [growth-kib]}]] (< (if (= way :parallel) 32768 8192) growth-kib)) result)]
      (run! println (concat (map (fn [[way {:keys [value expected]}]] (str way ": " value ", expected " expected)) wrong)
                            (map (fn [[way]] (str way " took too much memory")) grown)))
      (shutdown-agents)
      (System/exit (if (or (seq wrong) (seq grown)) 1 0)))))
