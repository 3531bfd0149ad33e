(ns httpkit.run
  "Runs the tests under tests/clojure.

     java -cp ... clojure.main -m httpkit.run                all namespaces `httpkit.*-test`
     java -cp ... clojure.main -m httpkit.run <ns> ...       only these (a name without dot means httpkit.<name>-test)
     java -cp ... clojure.main -m httpkit.run -<ns> ...      all but these

  Namespaces with the metadata `:newest-jdk` are left out unless named where the property `httpkit.newest.jdk` is false:
  other programs do most of the work there, and doing it on each JDK takes minutes.

  Ends with the line `N passed, N failed`, where N counts assertions, and exits with 1 if one failed."
  (:require [clojure.java.io :as io]
            [clojure.string  :as str]
            [clojure.test    :as test])
  (:import [java.io File PrintWriter]))

(def ^:private root (io/file "tests/clojure"))

(defn- namespace-of [^File file]
  (-> (.relativize (.toPath ^File root) (.toPath file))
      (str)
      (str/replace #"\.clj$" "")
      (str/replace File/separator ".")
      (str/replace "_" "-")
      (symbol)))

(defn- test-files []
  (filter #(str/ends-with? (.getName ^File %) "_test.clj") (file-seq root)))

(defn- named [^String arg]
  (symbol (if (str/includes? arg ".") arg (str "httpkit." arg "-test"))))

(defn- left-to-newest? [file]
  (and (= "false" (System/getProperty "httpkit.newest.jdk"))
       (:newest-jdk (meta (second (read-string (slurp file)))))))

(defn- chosen [args]
  (let [without? (set (map #(named (subs % 1)) (filter #(str/starts-with? % "-") args)))
        only     (remove #(str/starts-with? % "-") args)]
    (if (seq only)
      (remove without? (map named only))
      (let [namespaces (fn [files] (sort (remove without? (map namespace-of files))))
            {later true, now false} (group-by (comp boolean left-to-newest?) (test-files))]
        (when (seq later)
          (println "left to the newest JDK:" (str/join " " (namespaces later))))
        (namespaces now)))))

(defn- milliseconds-since [start]
  (quot (- (System/nanoTime) start) 1000000))

(defn- run-namespace
  "Counts of one namespace. A namespace that cannot be loaded counts as one failure."
  [ns-name]
  (let [start (System/nanoTime)]
    (try
      (require ns-name)
      (let [counts (test/run-tests ns-name)]
        (println ns-name "took" (milliseconds-since start) "ms")
        counts)
      (catch Throwable t
        (println "ERROR loading" ns-name)
        (.printStackTrace t (PrintWriter. *out* true))
        {:pass 0 :fail 0 :error 1}))))

(defn -main [& args]
  (println "Java" (System/getProperty "java.version") "Clojure" (clojure-version))
  (let [counts (binding [test/*test-out* *out*]
                 (doall (map (juxt identity run-namespace) (chosen args))))
        passed (reduce + (map (comp :pass second) counts))
        broken (fn [[_ {:keys [fail error]}]] (+ fail error))
        failed (reduce + (map broken counts))]
    (doseq [[ns-name :as row] counts :when (pos? (broken row))]
      (println "failed in" ns-name))
    (when (zero? (+ passed failed))
      (println "no test ran"))
    (println (format "%d passed, %d failed" passed failed))
    (flush)
    (shutdown-agents)
    ;; Not left to the JVM: a test that forgot a server must not keep the run alive.
    (System/exit (if (and (zero? failed) (pos? passed)) 0 1))))
