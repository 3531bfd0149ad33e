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
  "n requests, k of them under way; the nanoseconds that each took."
  [send n k url]
  (let [permits (Semaphore. k)
        done    (CountDownLatch. n)
        took    (long-array n)]
    (dotimes [i n]
      (.acquire permits)
      (let [since (System/nanoTime)]
        (send url (fn [status]
                    (when (not= 200 status) (println "unexpected status" status) (System/exit 1))
                    (aset took i (- (System/nanoTime) since))
                    (.release permits)
                    (.countDown done)))))
    (.await done)
    took))

(defn- run-in-turn [status-of n _ url]
  (let [took (long-array n)]
    (dotimes [i n]
      (let [since (System/nanoTime)]
        (assert (= 200 (status-of url)))
        (aset took i (- (System/nanoTime) since))))
    took))

(defn- our-status [url] (:status @(client/get url)))

(defn- their-status [url]
  (.statusCode (.send jdk (jdk-request url) (HttpResponse$BodyHandlers/ofString))))

(def ^:private workloads
  ;; Each slice is long against the 10 ms in which the kernel accounts CPU time to a process.
  [["C1 one after the other" "/"      1  10000 (partial run-in-turn our-status) (partial run-in-turn their-status)]
   ["C2 64 at once, 2 KB"    "/json"  64 15000 (partial run-at-once ours) (partial run-at-once theirs)]
   ["C3 4 at once, 1 MB"     "/bytes" 4  300   (partial run-at-once ours) (partial run-at-once theirs)]])

(defn- slice
  "Microseconds per request, of CPU and of time, and how long each took."
  [run n k url]
  (let [cpu  (process-cpu-nanos)
        now  (System/nanoTime)
        took (run n k url)]
    {:cpu  (/ (- (process-cpu-nanos) cpu) 1e3 n)
     :time (/ (- (System/nanoTime) now) 1e3 n)
     :took took}))

(defn- quantile
  "The value below which this share of them is."
  [share xs]
  (nth (sort xs) (min (dec (count xs)) (long (* share (count xs))))))

(defn- row [workload who measured]
  (let [cpu  (map :cpu measured)
        took (mapcat :took measured)]
    (println (format "| %s | %s | %.1f | %.1f | %.1f | %.0f | %.0f |"
                     workload who (quantile 1/2 cpu) (apply min cpu) (quantile 1/2 (map :time measured))
                     (/ (quantile 1/2 took) 1e3) (/ (quantile 99/100 took) 1e3)))))

(defn -main
  "`name` is that of the library on the classpath, in the table."
  [port name]
  (let [java (str "JDK " (.feature (Runtime/version)))]
    (doseq [[workload path k n ours theirs] workloads]
      (let [url (str "http://127.0.0.1:" port path)]
        (dotimes [_ 3] (ours n k url) (theirs n k url))
        (let [pairs (doall (repeatedly slices (fn [] [(slice ours n k url) (slice theirs n k url)])))]
          (row workload (str name " " java) (map first pairs))
          (row workload (str "java.net.http " java) (map second pairs))))))
  (shutdown-agents)
  (System/exit 0))
