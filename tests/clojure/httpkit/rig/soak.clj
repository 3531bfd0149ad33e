(ns httpkit.rig.soak
  "Servers of every way of work (on threads of their own, on a user's pool, with asynchronous handlers, with an
  `IHandler`) in a JVM of their own, with a heap of 256 MiB, under everything at once: requests of every kind whose
  answers are checked, and faults at random. Nothing may be wrong, and nothing may grow.

     clojure.main -m httpkit.rig.soak [--minutes N] [--seed S]     default 20 minutes, and a seed from the clock

  Prints the seed and, at the end, what was done and seen; exits with 1 if something was wrong. With the same seed each
  client does the same again; how they interleave is up to the machine."
  (:require [clojure.string      :as str]
            [httpkit.files       :as files]
            [httpkit.rig.clients :as clients]
            [httpkit.rig.process :as process]
            [httpkit.tls-certs   :as certs]
            [clojure.java.io     :as io])
  (:import (java.util SplittableRandom)
           (java.util.concurrent.locks ReentrantReadWriteLock)))

(set! *warn-on-reflection* true)

(def ^:private clients-at-once 8)

(defn- now-s ^double [] (/ (System/nanoTime) 1e9))

;;;; Faults of the whole process

(defn- put-certificate! [folder name]
  (doseq [kind ["pem" "key"]]
    (certs/replace-file! (certs/path (str name "." kind)) (io/file folder (str "tls." kind)))))

(defn- without-descriptors!
  "For a second nothing can be opened. What must open something waits meanwhile."
  [{:keys [site ^ReentrantReadWriteLock lock]}]
  (.lock (.writeLock lock))
  (try
    (let [before (process/limit-descriptors! site 3)]
      (try (Thread/sleep 1000)
           (finally (process/limit-descriptors! site before))))
    (finally (.unlock (.writeLock lock)))))

(defn- disturb
  "Takes descriptors away, and changes certificates, until `until`."
  [{:keys [site folder counts] :as context} until]
  (loop [round 0]
    (when (< (now-s) (double until))
      (dotimes [_ 8] (when (< (now-s) (double until)) (Thread/sleep 1000)))
      (if (even? round)
        (without-descriptors! context)
        (do (put-certificate! folder (if (zero? (rem round 4)) "server" "other"))
            (process/ask site "reload")))
      (swap! counts update (if (even? round) :without-descriptors :reloads) (fnil inc 0))
      (recur (inc round)))))

;;;; What is seen meanwhile

(def ^:private seen [:rss-kib :native-kib :handles :descriptors :threads])

(defn- sample [site since]
  (assoc (process/held site) :at (- (now-s) (double since)) :log (process/log-bytes site)))

(defn- sampling [site since until every]
  (future
    (loop [samples []]
      (if (< (now-s) (double until))
        (do (Thread/sleep (long (* 1000 (double every))))
            (recur (conj samples (sample site since))))
        samples))))

(defn- median [numbers]
  (let [sorted (vec (sort numbers))]
    (if (seq sorted) (nth sorted (quot (count sorted) 2)) 0)))

(defn- quarter
  "The samples of the nth quarter of the time."
  [samples n]
  (let [size (count samples)]
    (subvec samples (quot (* n size) 4) (quot (* (inc n) size) 4))))

(defn- growth
  "Of a value, from the median of the second quarter to that of the last."
  [samples k]
  (- (long (median (map k (quarter samples 3)))) (long (median (map k (quarter samples 1))))))

(defn- long-enough?
  "Whether a run is for growth: then it rests before and after."
  [minutes]
  (<= 10 (double minutes)))

(defn- slack
  "By how much a value may have grown. A short run sees the JIT compiler at work."
  [minutes]
  {:rss-kib     (if (long-enough? minutes) (* 12 1024) (* 64 1024))
   ;; What the library itself has allocated: bodies that are under way.
   :native-kib  (* 16 1024)
   :handles     40
   :descriptors 60
   :threads     16})

;;;; The whole

(defn- work
  "Clients until `until`."
  [{:keys [seed] :as context} until]
  (run! deref
        (mapv (fn [i]
                (future
                  (let [random (SplittableRandom. (+ (long seed) (long i)))]
                    (while (< (now-s) (double until))
                      (clients/act! context random)))))
              (range clients-at-once))))

(defn- at-rest [site minutes]
  (when (long-enough? minutes) (process/rested site)))

(def ^:private most-at-rest
  "KiB that the library may hold at rest more than before."
  1024)

(defn- complaints [{:keys [minutes samples wrong left log counts rests]}]
  (let [[before after] (map :native-kib rests)
        grown (for [[k most] (slack minutes)
                    :let [by (growth samples k)]
                    :when (< (long most) (long by))]
                (str (name k) " grew by " by " between the second and the last quarter"))
        lines (reduce + (vals log))
        ;; One for each handler that threw, and for others a few a second.
        most  (+ (long (get counts "throws" 0)) (* 120 (double minutes)) 200)]
    (cond-> (vec grown)
      (seq wrong)    (conj (str "wrong: " (str/join "\n  " (map pr-str wrong))))
      (and after (< (long most-at-rest) (- (long after) (long before))))
      (conj (str "at rest, the library holds " after " KiB, before " before))
      (seq left)     (conj (str "left behind: " left))
      (< most lines) (conj (str lines " lines in the log: " (pr-str (take 10 (sort-by (comp - val) log))))))))

(defn- report! [{:keys [samples counts log requests seconds]}]
  (let [at (fn [k n] (median (map k (quarter samples n))))]
    (println "requests" requests "in" (long seconds) "s;" (count samples) "samples")
    (doseq [k seen]
      (println (format "%-12s medians of the quarters %s" (name k) (mapv #(at k %) (range 4)))))
    (println "log bytes" (:log (peek samples)) "lines" (into {} (take 8 (sort-by (comp - val) log))))
    (println "done" (into (sorted-map-by #(compare (str %1) (str %2))) counts))))

(defn run [{:keys [minutes seed]}]
  (let [folder  (files/temporary-directory)
        _       (put-certificate! folder "server")
        seconds (* 60 (double minutes))]
    (with-open [site (process/start {:ssl-port 0 :keystore-scan-interval nil :modes true
                                     :tls {:cert (str (io/file folder "tls.pem")) :key (str (io/file folder "tls.key"))}})]
      (let [context {:site site :folder folder :seed seed :counts (atom {}) :wrong (atom [])
                     :lock (ReentrantReadWriteLock. true)}
            ;; Everything once, so that threads and classes are there when we begin to count.
            _       (work (update context :seed dec) (+ (now-s) (min 60.0 (/ seconds 5))))
            before  (process/settled site)
            rested  (at-rest site minutes)
            start   (now-s)
            until   (+ start seconds)
            samples (sampling site start until (max 0.5 (/ seconds 200)))
            chaos   (future (disturb context until))]
        (work context until)
        @chaos
        (let [requests (:requests (process/held site))
              left     (process/returned site before)
              result   {:minutes minutes :samples @samples :wrong @(:wrong context) :left left
                        :log (process/log-counts site) :counts @(:counts context)
                        :requests requests :seconds (- (now-s) start)}]
          (report! result)
          (println "afterwards" (select-keys (process/settled site) seen) "before" (select-keys before seen))
          (let [rests [rested (at-rest site minutes)]]
            (when rested (println "at rest" (mapv #(select-keys % seen) rests)))
            (complaints (assoc result :rests rests))))))))

(defn -main [& arguments]
  (let [options (apply hash-map arguments)
        minutes (Double/parseDouble (get options "--minutes" "20"))
        seed    (Long/parseLong (get options "--seed" (str (rem (System/nanoTime) 1000000000))))]
    (when-let [unknown (seq (remove #{"--minutes" "--seed"} (keys options)))]
      (throw (IllegalArgumentException. (str "unknown: " (str/join " " unknown)))))
    (println "soak: seed" seed "," minutes "minutes")
    (flush)
    (let [bad (run {:minutes minutes :seed seed})]
      (run! println bad)
      (println (if (seq bad) "0 passed, 1 failed" "1 passed, 0 failed"))
      (flush)
      (shutdown-agents)
      (System/exit (if (seq bad) 1 0)))))
