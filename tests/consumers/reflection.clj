;; Loads every namespace of clojure/ with reflection warnings on; exits with 1 if there is one.
(require '[clojure.java.io :as io]
         '[clojure.string  :as str])

(def sources
  (->> (file-seq (io/file "clojure/org"))
       (filter #(str/ends-with? (.getName ^java.io.File %) ".clj"))
       (sort)))

(def warnings
  (let [out (java.io.StringWriter.)]
    (binding [*err* out, *warn-on-reflection* true]
      (doseq [file sources]
        (load-file (str file))))
    (filter #(str/includes? % "Reflection warning") (str/split-lines (str out)))))

(run! println warnings)
(println (format "%d passed, %d failed" (- (count sources) (min (count sources) (count warnings))) (count warnings)))
(System/exit (if (and (seq sources) (empty? warnings)) 0 1))
