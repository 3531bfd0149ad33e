(ns httpkit.golden.compare
  "The comparison rules of the data: what an outcome demands, what it leaves open."
  (:require [clojure.string :as str]))

(set! *warn-on-reflection* true)

(def ^:private information
  "Texts of exceptions: shown to people, never compared."
  #{"message" "cause_message"})

(declare differences)

(defn- object-differences [path expected actual]
  (let [open? (contains? expected "*")
        wanted (dissoc expected "*")
        extra (when-not open? (remove #(contains? wanted %) (keys actual)))]
    (mapcat (fn [k] (when-not (information k)
                      (differences (conj path k) (get wanted k) (get actual k))))
            (concat (keys wanted) extra))))

(defn- list-differences [path expected actual]
  (if (= (count expected) (count actual))
    (mapcat (fn [i e a] (differences (conj path i) e a)) (range) expected actual)
    [{:path (conj path :count) :expected expected :actual actual}]))

(defn- same-length-text? [expected actual]
  (let [[_ n] (when (string? expected) (re-matches #"len=(\d+)" expected))]
    (and n (= (str n) (str (if (map? actual) (get actual "len") (count (str actual))))))))

(defn differences
  "Where `actual` disagrees with `expected`, as maps of `:path`, `:expected`,
  `:actual`; empty when it agrees."
  [path expected actual]
  (cond
    (= expected "*") nil
    (and (map? expected) (map? actual)) (object-differences path expected actual)
    (and (sequential? expected) (sequential? actual)) (list-differences path expected actual)
    (and (number? expected) (number? actual) (== expected actual)) nil
    (= expected actual) nil
    (same-length-text? expected actual) nil
    :else [{:path path :expected expected :actual actual}]))

(def ^:private request-defaults
  "Values that the data leaves out of a request map."
  {"character-encoding" "utf8", "protocol" "HTTP/1.1", "websocket?" false, "body" nil,
   "content-type" nil, "content-length" 0, "query-string" nil, "remote-addr" "127.0.0.1",
   "server-name" "h", "server-port" 80, "scheme" "http", "headers" {"host" "h"}})

(defn- fit-request
  "Both sides of one request map, the expected one with its defaults filled in."
  [expected actual]
  (cond
    (not (and (map? expected) (map? actual))) [expected actual]
    (contains? expected "header-count")
    [(merge (dissoc request-defaults "headers") expected)
     (-> actual (dissoc "headers") (assoc "header-count" (count (get actual "headers"))))]
    :else [(merge request-defaults expected) actual]))

(defn- fit-wire
  "Headers sorted by name, unless the case cares for their order; equal names keep theirs."
  [ordered? request]
  (if (and (map? request) (not ordered?))
    (update request "headers" #(if (sequential? %) (sort-by first %) %))
    request))

(defn- fit-result [expected actual]
  (if (and (map? expected) (map? actual) (not (contains? expected "opts")))
    [expected (dissoc actual "opts")]
    [expected actual]))

(defn- fit-lists
  "Applies `fit` to the pairs of two lists, as far as both go."
  [fit expected actual]
  (if (and (sequential? expected) (sequential? actual))
    (let [pairs (map fit expected actual)
          n (count pairs)]
      [(into (mapv first pairs) (drop n expected))
       (into (mapv second pairs) (drop n actual))])
    [expected actual]))

(defn- fit
  "Expected and actual value of the top-level key `k`, brought to one form."
  [k golden expected actual]
  (case k
    "requests" (fit-lists fit-request expected actual)
    "results" (fit-lists fit-result expected actual)
    "wire" (fit-lists (fn [e a] [(fit-wire (get golden "ordered") e) (fit-wire (get golden "ordered") a)])
                      expected actual)
    "log" [expected (if (and (map? expected) (map? actual))
                      ;; a phase that logged nothing is an empty list
                      (into {} (map (fn [[phase _]] [phase (get actual phase [])])) expected)
                      actual)]
    [expected actual]))

(defn- outcome-differences [golden expected actual]
  (mapcat (fn [k]
            (let [[e a] (fit k golden (get expected k) (get actual k))]
              (differences [k] e a)))
          (concat (keys expected)
                  ;; bytes that are no HTTP message must be absent unless named
                  (when (and (contains? expected "responses") (not (contains? expected "trailing")))
                    ["trailing"]))))

(defn outcomes
  "All acceptable outcomes of the case `golden`."
  [golden]
  (concat (when (contains? golden "expect") [(get golden "expect")])
          (get golden "expect_any")
          (get golden "also_ok")))

(defn check
  "Differences between `actual` and the acceptable outcome nearest to it; empty = passed."
  [golden actual]
  (when (empty? (outcomes golden))
    (throw (ex-info "case without outcome" {:type ::no-outcome :id (get golden "id")})))
  (->> (outcomes golden)
       (map #(vec (outcome-differences golden % actual)))
       (apply min-key count)))

(defn- cut [x]
  (let [s (pr-str x)]
    (if (< 300 (count s)) (str (subs s 0 300) "...") s)))

(defn describe
  "One line per difference."
  [differences]
  (str/join "\n" (for [{:keys [path expected actual]} differences]
                   (str "      " (str/join "." (map #(if (keyword? %) (name %) (str %)) path))
                        ": expected " (cut expected) ", got " (cut actual)))))
