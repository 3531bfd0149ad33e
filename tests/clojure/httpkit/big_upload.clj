(ns httpkit.big-upload
  "Long uploads into a server with a heap of 64 MiB: what its process grows by, and how fast they are.
  `./dev big-upload [GiB]` runs it with long ones, `httpkit.big-upload-test` with short ones."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [httpkit.subprocess :as subprocess]
            [httpkit.wire       :as wire]
            [org.httpkit.utils  :as utils])
  (:import (java.io File OutputStream)
           (java.net Socket)
           (java.nio.file Files Path)
           (java.nio.file.attribute FileAttribute)
           (java.time Duration)
           (java.util Arrays List)
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

;; Beside nginx

(defn- with-nginx
  "Calls `f` with the process of an nginx that puts what it is sent into files, its port and a function that removes them."
  [f]
  (let [dir     (.toFile (Files/createTempDirectory "big-upload" (make-array FileAttribute 0)))
        port    (wire/free-port)
        paths   (str/join (for [what ["client_body" "proxy" "fastcgi" "uwsgi" "scgi"]]
                            (format "%s_temp_path %s/%s;\n" what dir what)))
        conf    (io/file dir "nginx.conf")
        remove! #(run! (fn [^File file] (.delete file)) (reverse (file-seq (io/file dir "files"))))]
    (spit conf (str "daemon off;\nmaster_process off;\npid " dir "/pid;\nerror_log " dir "/error.log;\n"
                 "events {}\nhttp {\naccess_log off;\nclient_max_body_size 0;\n" paths
                 "server { listen 127.0.0.1:" port "; root " dir "; location /files/ { dav_methods PUT; create_full_put_path on; } }\n}\n"))
    (let [^List command ["nginx" "-c" (str conf)]
          process (.start (.inheritIO (ProcessBuilder. command)))]
      (try
        (wire/eventually #(try (.close (Socket. "127.0.0.1" (int port))) true (catch java.io.IOException _ false)))
        (f process port remove!)
        (finally
          (.destroy process)
          (.waitFor process)
          (run! (fn [^File file] (.delete file)) (reverse (file-seq dir))))))))

(defn- put [port ^long n]
  (with-open [conn (wire/connect port)]
    (wire/send! conn (str "PUT /files/upload HTTP/1.1\r\nHost: h\r\nContent-Length: " n "\r\n\r\n"))
    (send-bytes! conn n)
    (:status (wire/answer conn))))

(defn- cpu-s [^Process process]
  (/ (.toMillis ^Duration (.get (.totalCpuDuration (.info process)))) 1e3))

(defn- compare-with-nginx
  "Rounds of `n` bytes each: nginx to a file, ours to a file, through Ring's multipart middleware, and that middleware
  alone, fed from memory. Prints medians of speed and of the server's processor time."
  [process port n rounds]
  (with-nginx
    (fn [nginx nginx-port remove!]
      (let [ways  {"nginx, to a file"         [nginx #(let [status (put nginx-port n)] (remove!) (#{201 204} status))]
                   "to a file"                [process #(= (str n) (upload port "/file" n))]
                   "multipart"                [process #(= (str n " " n) (multipart port n))]
                   "multipart parser, alone"  [process #(= (str n " " n) (:body (wire/fetch port (str "/parser?" n))))]}
            runs  (for [round (range rounds), [what [of f]] ways]
                    (let [before (cpu-s of), [ok? seconds] (timed f)]
                      (when-not ok? (throw (ex-info (str what " failed") {:round round})))
                      [what {:speed (/ (double n) (double seconds) 1e6), :cpu (/ (- (double (cpu-s of)) (double before)) (/ (double n) 1e9))}]))
            found (update-vals (group-by first (doall runs)) #(map second %))
            mid   (fn [k runs] (double (nth (sort (map k runs)) (quot rounds 2))))]
        (doseq [[what runs] found]
          (println (format "%-24s %7.1f MB/s (%.0f to %.0f), %.2f s of processor time for a GB" what (mid :speed runs)
                     (double (apply min (map :speed runs))) (double (apply max (map :speed runs))) (mid :cpu runs))))))))

(defn with-process
  "Calls `f` with the process of such a server and its port."
  [f]
  (let [native (:file (utils/native-info))] ; to unpack one takes more heap than there is
    (subprocess/call-with-server "(require 'httpkit.big-upload-server) (httpkit.big-upload-server/-main)"
      ["-Xmx64m" "-Xms64m" "-XX:+AlwaysPreTouch" (str "-Dhttp-kit.native.path=" native)]
      f)))

(defn -main [& [gib]]
  (let [n      (* 1024 1024 1024 (Long/parseLong (or gib "8")))
        result (with-process (fn [process port]
                               (let [result (measure process port n 64 (quot n 8))]
                                 (compare-with-nginx process port (min n (* 1024 1024 1024)) 5)
                                 result)))
        wrong  (remove (fn [[_ {:keys [value expected]}]] (= value expected)) result)]
    (doseq [[way {:keys [growth-kib seconds]}] result
            :let [bytes (case way :parallel (* 8 n) :echo (min (long n) (* 1024 1024 1024)) n)]]
      (println (format "%-10s %6.1f s  %7.1f MB/s  memory +%d KiB" (name way) seconds (/ bytes seconds 1e6) growth-kib)))
    (let [grown (filter (fn [[way {:keys [growth-kib]}]] (< (if (= way :parallel) 32768 8192) growth-kib)) result)]
      (run! println (concat (map (fn [[way {:keys [value expected]}]] (str way ": " value ", expected " expected)) wrong)
                            (map (fn [[way]] (str way " took too much memory")) grown)))
      (shutdown-agents)
      (System/exit (if (or (seq wrong) (seq grown)) 1 0)))))
