(ns httpkit.docs-test
  "Every Clojure block of README.md and docs/ runs, and what `; => value` says is so.

  A page's blocks are one program, in a namespace of its own. Ports 8080 and 8443 stand for any free ports."
  (:require [clojure.java.io     :as io]
            [clojure.java.shell  :refer [sh]]
            [clojure.string      :as str]
            [clojure.test        :refer [deftest is testing]]
            [httpkit.wire        :as wire]
            [org.httpkit.client]
            [org.httpkit.options.server :as server-options]
            [org.httpkit.options.client :as client-options]
            [org.httpkit.server])
  (:import (clojure.lang LineNumberingPushbackReader)
           (java.io File StringReader)
           (java.util.regex Pattern)))

(set! *warn-on-reflection* true)

(defn- pages []
  (->> (file-seq (io/file "docs"))
       (filter #(str/ends-with? (.getName ^File %) ".md"))
       (cons (io/file "README.md"))
       (map str)
       (sort)))

(defn- blocks
  "[line text] of each Clojure block of a page."
  [text]
  (loop [lines (map-indexed vector (str/split-lines text)), found []]
    (let [[[n] & more :as from] (drop-while #(not= "```clojure" (second %)) lines)]
      (if (empty? from)
        found
        (let [[block after] (split-with #(not= "```" (second %)) more)]
          (recur after (conj found [(+ 2 n) (str/join "\n" (map second block))])))))))

(defn- expectation
  "The text behind `; =>` that follows a form, on its line or on the next."
  [text]
  (second (re-find #"^\s*;\s*=>\s*(.+)" text)))

(defn- forms
  "[line form expected-text] of each form of a block."
  [first-line text]
  (let [lines  (vec (str/split-lines text))
        reader (LineNumberingPushbackReader. (StringReader. text))]
    (loop [found []]
      (let [form (read {:eof ::end} reader)]
        (if (= ::end form)
          found
          (let [line   (.getLineNumber reader)
                column (.getColumnNumber reader)
                rest   (subs (lines (dec line)) (min (count (lines (dec line))) (dec column)))
                below  (get lines line "")]
            (recur (conj found [(+ first-line line -1) form
                                (or (expectation rest) (when (str/blank? rest) (expectation below)))]))))))))

(defn- run-page [page]
  (let [port  (str (wire/free-port))
        text  (-> (slurp page)
                  (str/replace #"\b8080\b" port)
                  (str/replace #"\b8443\b" (str (wire/free-port))))
        space (create-ns (symbol (str "docs." (str/replace page #"\W" "-"))))]
    (binding [*ns* space]
      (refer-clojure)
      (reduce + (for [[line block] (blocks text)
                      :let [found (binding [*ns* space] (forms line block))]
                      [line form expected] found]
                  (testing (str page ":" line)
                    (let [value (binding [*ns* space] (try (eval form) (catch Throwable t [::threw (str (or (ex-cause t) t))])))]
                      (if expected
                        (is (= (binding [*ns* space] (eval (read-string expected))) value))
                        (is (= :no-throw (if (and (vector? value) (= ::threw (first value))) (second value) :no-throw)) (pr-str form)))
                      1)))))))

(deftest every-block-of-the-documentation-runs
  (doseq [page (pages)]
    (is (nat-int? (run-page page)) page)))

(deftest links-lead-to-files
  (doseq [page  (concat (pages) ["ARCHITECTURE.md" "CONTRIBUTING.md" "SECURITY.md" "examples/README.md" "benches/README.md"])
          [_ to] (re-seq #"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)" (slurp page))]
    (is (.exists (io/file (.getParentFile (.getAbsoluteFile (io/file page))) to)) (str page " links to " to))))

(deftest a-wrong-expectation-is-noticed
  (is (= [[1 '(+ 1 1) "2"] [2 '(+ 1 2) nil] [4 '(+ 1 3) "4"]]
         (forms 1 "(+ 1 1) ; => 2\n(+ 1 2)\n\n(+ 1 3)\n; => 4"))))

(defn- names? [text option]
  (re-find (re-pattern (str (Pattern/quote (str option)) "(?![\\w?-])")) text))

(deftest each-option-is-on-its-page-and-in-its-docstring-and-those-of-the-server-in-the-readme
  (doseq [[page var table] [["docs/server.md" #'org.httpkit.server/run-server (merge server-options/server-worker server-options/server)]
                            ["docs/client.md" #'org.httpkit.client/request     client-options/request]
                            ["docs/client.md" #'org.httpkit.client/make-client client-options/client]]
          :let   [text   (slurp page)
                  pool   (set (keys server-options/server-worker))
                  listed (str (:doc (meta var)))]
          option (keys table)]
    (when-not (names? text option)
      (is false (str page " does not name " option)))
    (when-not (pool option) ; run-server refers to new-worker for these
      (is (names? listed option) (str var " does not name " option))))
  (let [readme (slurp "README.md")]
    (doseq [option (remove (set (keys server-options/server-worker)) (keys server-options/server))]
      (is (names? readme option) (str "README.md does not name " option))))
  (is (names? "a `:port`" :port))
  (is (not (names? "a `:port-range`" :port))))

(deftest each-event-is-on-the-page-of-events
  (let [page (slurp "docs/operations.md")]
    (doseq [^java.lang.reflect.Field field (.getFields org.httpkit.logger.EventNames)
            :when (not= "DEFAULT" (.getName field))]
      (is (names? page (str "`" (.getName field) "`")) (.getName field)))))

(deftest charts-are-drawn-from-the-newest-numbers
  (let [{:keys [exit err]} (sh "python3" "benches/chart" "--check")]
    (is (= 0 exit) err)))
