(ns bench.client
  "Our client beside the JDK's own, java.net.http, in one process and in turns, so
  that a noisy neighbour meets both. Started by benches/clients/run."
  (:require [org.httpkit.client :as client])
  (:import [java.lang.management ManagementFactory]
           [java.net URI]
           [java.net.http HttpClient HttpClient$Version HttpRequest HttpResponse HttpResponse$BodyHandlers]
           [java.util.concurrent CountDownLatch Semaphore]
           [java.util.function BiConsumer]))

(set! *warn-on-reflection* true)

(def ^:private slices 7)

(defn- process-cpu-nanos ^long []
  (.getProcessCpuTime ^com.sun.management.OperatingSystemMXBean (ManagementFactory/getOperatingSystemMXBean)))

(def ^:private ^HttpClient jdk
  (-> (HttpClient/newBuilder) (.version HttpClient$Version/HTTP_1_1) (.build)))

(defn- jdk-request ^HttpRequest [^String url]
  (.build (HttpRequest/newBuilder (URI/create url))))

(defn- ours [url answered]
  (client/get url {} (fn [{:keys [status]}] (answered status))))

(defn- theirs [url answered]
  (.whenComplete (.sendAsync jdk (jdk-request url) (HttpResponse$BodyHandlers/ofString))
                 (reify BiConsumer
                   (accept [_ response _] (answered (some-> ^HttpResponse response .statusCode))))))

(defn- run-at-once
  "n requests, k of them under way."
  [send n k url]
  (let [permits (Semaphore. k)
        done    (CountDownLatch. n)]
    (dotimes [_ n]
      (.acquire permits)
      (send url (fn [status]
                  (when (not= 200 status) (println "unexpected status" status) (System/exit 1))
                  (.release permits)
                  (.countDown done))))
    (.await done)))

(defn- ours-in-turn [n _ url]
  (dotimes [_ n] (assert (= 200 (:status @(client/get url))))))

(defn- theirs-in-turn [n _ url]
  (dotimes [_ n] (assert (= 200 (.statusCode (.send jdk (jdk-request url) (HttpResponse$BodyHandlers/ofString)))))))

(def ^:private workloads
  ;; Each slice is long against the 10 ms in which the kernel accounts CPU time to a process.
  [["C1 one after the other" "/"      1  10000 ours-in-turn              theirs-in-turn]
   ["C2 64 at once, 2 KB"    "/json"  64 15000 (partial run-at-once ours) (partial run-at-once theirs)]
   ["C3 4 at once, 1 MB"     "/bytes" 4  300   (partial run-at-once ours) (partial run-at-once theirs)]])

(defn- slice
  "Microseconds per request, of CPU and of time."
  [run n k url]
  (let [cpu (process-cpu-nanos)
        now (System/nanoTime)]
    (run n k url)
    [(/ (- (process-cpu-nanos) cpu) 1e3 n) (/ (- (System/nanoTime) now) 1e3 n)]))

(defn- median [xs] (nth (sort xs) (quot (count xs) 2)))

(defn- row [workload who measured]
  (let [cpu (map first measured)]
    (println (format "| %s | %s | %.1f | %.1f | %.1f |"
                     workload who (median cpu) (apply min cpu) (median (map second measured))))))

(defn -main [port]
  (let [java (str "JDK " (.feature (Runtime/version)))]
    (doseq [[workload path k n ours theirs] workloads]
      (let [url (str "http://127.0.0.1:" port path)]
        (dotimes [_ 3] (ours n k url) (theirs n k url))
        (let [pairs (doall (repeatedly slices (fn [] [(slice ours n k url) (slice theirs n k url)])))]
          (row workload (str "http-kit " java) (map first pairs))
          (row workload (str "java.net.http " java) (map second pairs))))))
  (shutdown-agents)
  (System/exit 0))
