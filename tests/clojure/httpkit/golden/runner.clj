(ns httpkit.golden.runner
  "Runs cases: several at a time, the ones that measure time fewer at a time,
  failed ones again and alone."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [httpkit.golden.client :as client]
            [httpkit.golden.compare :as compare]
            [httpkit.golden.conn :as conn]
            [httpkit.golden.json :as json]
            [httpkit.golden.options :as options]
            [httpkit.golden.server :as server])
  (:import [java.util.concurrent Callable Executors Future TimeUnit TimeoutException]))

(set! *warn-on-reflection* true)

(def directories
  "Where the data lies, seen from the top of the repository."
  ["tests/golden" "tests/golden-own"])

(defn- read-cases [dirs]
  (for [dir dirs
        f (sort-by #(.getName ^java.io.File %) (.listFiles (io/file dir)))
        :when (str/ends-with? (.getName ^java.io.File f) ".jsonl")
        line (str/split-lines (slurp f))
        :when (not (str/blank? line))]
    (json/parse line)))

(defn load-cases
  "All cases of the `.jsonl` files of `dirs`, in order of file name and line, without those that
  another one is `instead_of`."
  [dirs]
  (let [cases    (read-cases dirs)
        replaced (into #{} (keep #(get % "instead_of")) cases)]
    (remove #(replaced (get % "id")) cases)))

(def ^:private players
  (let [server {:load! server/load-api! :play server/play}
        client {:load! client/load-api! :play client/play}]
    {"server-wire" server, "server-responses" server, "server-channel" server, "websocket" server
     "client-wire" client, "client-responses" client
     "options" {:load! options/load-api! :play options/play}}))

(defn play
  "Plays one case with the player of its file."
  [golden]
  ((:play (players (get golden "file"))) golden))

(defn- unmet
  "Why the case does not hold on this machine, or over TLS, or nil."
  [golden]
  (let [cores (get-in golden ["assumes" "cores"])]
    (cond
      (and cores (not= cores (.availableProcessors (Runtime/getRuntime))))
      (str "assumes " cores " processors")

      (and @conn/tls? (get-in golden ["server" "proxy-protocol"]))
      "a PROXY header comes before TLS")))

(defn check
  "Plays `golden` once: `{:golden :differences}` or `{:golden :broken text}`."
  [play golden]
  (try
    (let [[filled outcome] (play golden)]
      {:golden golden :differences (compare/check filled outcome)})
    (catch Throwable t
      {:golden golden :broken (str (.getName (class t)) ": " (.getMessage t))})))

(defn passed? [{:keys [differences broken skipped]}]
  (boolean (or skipped (and (not broken) (empty? differences)))))

(def ^:private hang-s "Seconds after which a case counts as hung." 90)

(defn- await-check [^Future f golden]
  (try
    (.get f hang-s TimeUnit/SECONDS)
    (catch TimeoutException _
      (.cancel f true)
      {:golden golden :broken (str "no outcome within " hang-s " s")})))

(defn- run-batch
  "Results of `cases`, `jobs` at a time, in their order."
  [play jobs cases]
  (let [pool (Executors/newFixedThreadPool (int jobs))]
    (try
      (let [running (mapv (fn [golden]
                            [(.submit pool ^Callable (fn [] (check play golden))) golden])
                          cases)]
        (mapv (fn [[f golden]] (await-check f golden)) running))
      (finally (.shutdownNow pool)))))

(defn timed?
  "Cases whose outcome depends on how fast the machine is."
  [{:strs [cat file timer lifecycle requests]}]
  (boolean (or timer lifecycle
               (#{"timeout" "overload"} cat)
               (and (#{"client-responses"} file) (some #(contains? % "sleep_ms") requests)))))

(defn- retry
  "A failed case again, alone, at most twice."
  [play {:keys [golden] :as failed}]
  (loop [left 2, result failed]
    (if (or (passed? result) (zero? left))
      (assoc result :retried (- 2 left) :first failed)
      (recur (dec left) (first (run-batch play 1 [golden]))))))

(def ^:private retry-limit
  "More failures than this are no flaw of timing: retrying them only costs time."
  60)

(defn- load-failure
  "Why the implementation of what a case calls cannot be loaded, or nil."
  [golden]
  (try
    ((:load! (players (get golden "file"))) [golden])
    nil
    (catch Throwable t
      (str "implementation not loaded: " (.getMessage t)))))

(defn- run-all
  "One result per case, in no particular order, retries included."
  [cases {:keys [jobs retry? play]}]
  (let [groups (group-by timed? cases)
        results (into (run-batch play jobs (get groups false))
                      (run-batch play (min 2 jobs) (get groups true)))
        again? (and retry? (<= (count (remove passed? results)) retry-limit))]
    (mapv #(if (and again? (not (passed? %))) (retry play %) %) results)))

(defn run
  "Plays `cases` and gives one result per case, in order. Options: `:jobs`
  (default 16: most of a case is silence), `:retry?` (default true), `:play` (default by file)."
  [cases opts]
  (let [opts (merge {:jobs 16 :retry? true :play play} opts)
        skipped (for [g cases :let [why (unmet g)] :when why] {:golden g :skipped why})
        cases-here (remove unmet cases)
        unloaded (when (= play (:play opts))
                   (for [g cases-here :let [why (load-failure g)] :when why] {:golden g :broken why}))
        results (run-all (remove (set (map :golden unloaded)) cases-here) opts)
        by-id (into {} (map (juxt #(get-in % [:golden "id"]) identity)) (concat skipped unloaded results))]
    (mapv #(by-id (get % "id")) cases)))
