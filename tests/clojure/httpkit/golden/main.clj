(ns httpkit.golden.main
  "Replays the golden data from a command line:

    clojure.main -m httpkit.golden.main [--dir tests/golden]... [--file server-wire]...
      [--id sw-methods-001]... [--cat methods]... [--status must]...
      [--jobs 16] [--no-retry] [--verbose] [--tls]

  --tls plays cases of servers to TLS ports.

  Exit code 1 when a case failed."
  (:require [clojure.string :as str]
            [httpkit.golden.compare :as compare]
            [httpkit.golden.conn :as conn]
            [httpkit.golden.runner :as runner]))

(set! *warn-on-reflection* true)

(defn- parse-args
  "Command line words to options; repeated ones collect."
  [words]
  (loop [[word & more] words, opts {}]
    (case word
      nil opts
      "--verbose" (recur more (assoc opts :verbose? true))
      "--tls" (do (reset! conn/tls? true) (recur more opts))
      "--no-retry" (recur more (assoc opts :retry? false))
      "--jobs" (recur (rest more) (assoc opts :jobs (Long/parseLong (first more))))
      ("--dir" "--file" "--id" "--cat" "--status")
      (recur (rest more) (update opts (keyword (subs word 2)) (fnil conj []) (first more)))
      (throw (ex-info (str "unknown option " word) {:type ::usage})))))

(defn- chosen? [opts golden]
  (every? (fn [k] (or (nil? (get opts k)) (some #{(get golden (name k))} (get opts k))))
          [:file :id :cat :status]))

(defn- title [{:keys [golden]}]
  (str (get golden "id") " [" (get golden "status") "] " (get golden "about")))

(defn report-failure
  "The lines that tell how a case failed."
  [{:keys [differences broken] :as result}]
  (str "  FAIL " (title result) "\n"
       (if broken (str "      " broken) (compare/describe differences))))

(defn- print-result [{:keys [retried skipped] :as result} verbose?]
  (cond
    skipped (println "  SKIP" (title result) "-" skipped)
    (not (runner/passed? result)) (println (report-failure result))
    retried (println "  RETRIED" (title result) "- passed at retry" retried)
    verbose? (println "  ok  " (title result)))
  (when (and retried verbose?)
    (println "    first run:")
    (println (report-failure (:first result)))))

(defn- tally [results]
  (str (count (filter runner/passed? results)) " passed, "
       (count (remove runner/passed? results)) " failed"))

(defn- print-file [file results verbose?]
  (println (str file ": "
                (str/join "; " (for [status ["must" "should" "fix"]
                                     :let [rs (filter #(= status (get-in % [:golden "status"])) results)]
                                     :when (seq rs)]
                                 (str status " " (tally rs))))))
  (run! #(print-result % verbose?) results)
  (flush))

(defn replay
  "Runs the chosen cases and prints them by file; the results."
  [{:keys [dir verbose?] :as opts}]
  (let [cases (filter #(chosen? opts %) (runner/load-cases (or dir runner/directories)))
        results (mapcat (fn [file]
                          (let [results (runner/run (filter #(= file (get % "file")) cases) opts)]
                            (print-file file results verbose?)
                            results))
                        (distinct (map #(get % "file") cases)))]
    (doall results)))

(defn -main [& words]
  (let [results (replay (parse-args words))]
    (println (tally results))
    (flush)
    (System/exit (if (and (seq results) (every? runner/passed? results)) 0 1))))
