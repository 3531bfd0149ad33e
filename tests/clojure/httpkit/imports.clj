(ns httpkit.imports
  "Which file of the product imports which, read from the sources.

  A graph is a map from a file's name to the set of names that it imports: \"core/server/output\" for
  rust/core/src/server/output.rs, \"core/server\" for its mod.rs, \"java/server/HttpServer\" for a class.
  Imports of what a module only re-exports count for the file that defines it."
  (:require [clojure.java.io :as io]
            [clojure.string  :as str])
  (:import (java.io File)))

(set! *warn-on-reflection* true)

(defn- files [dir suffix]
  (filter #(str/ends-with? (.getName ^File %) suffix) (file-seq (io/file dir))))

(defn- relative [dir ^File file]
  (str (.relativize (.toPath (io/file dir)) (.toPath file))))

;; Rust

(defn- without-comments-and-tests [text]
  (-> text
      (str/replace #"(?m)//.*$" "")
      (str/replace #"(?s)\n#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*mod \w+ \{.*?\n\}" "")))

(defn- module-path
  "Segments of the module in a file below src: [\"server\" \"output\"], [] for lib.rs."
  [file]
  (let [segments (str/split (str/replace file #"\.rs$" "") #"/")]
    (if (#{"mod" "lib"} (last segments)) (vec (butlast segments)) segments)))

(defn- split-top
  "Splits at commas that are in no brace."
  [text]
  (loop [[c & more] text, depth 0, item "", items []]
    (cond
      (nil? c)                       (conj items item)
      (and (= \, c) (zero? depth))   (recur more depth "" (conj items item))
      :else (recur more (case c \{ (inc depth) \} (dec depth) depth) (str item c) items))))

(defn- expand
  "All paths of a use tree: \"a::{b, c::{d, e}}\" is [a b], [a c d], [a c e]."
  [tree]
  (let [tree (str/trim tree)]
    (if-let [[_ prefix inner] (re-matches #"(?s)(.*?)\{(.*)\}" tree)]
      (let [prefix (remove str/blank? (str/split prefix #"::"))]
        (for [item (split-top inner), :when (not (str/blank? item)), path (expand item)]
          (vec (concat prefix path))))
      [(vec (str/split (str/replace tree #"\s+as\s+\w+$" "") #"::"))])))

(defn- uses
  "[public? path] of each path of each use item."
  [text]
  (for [[_ visibility tree] (re-seq #"(?s)(?:^|\n)\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);" text)
        path (expand tree)]
    [(some? visibility) path]))

(defn- inline-paths [text]
  (map #(str/split % #"::")
       (re-seq #"\b(?:crate|super|httpkit_core)(?:::\w+)+" (str/replace text #"(?s)\buse\s+[^;]+;|\bpub\(in [^)]*\)" ""))))

(defn- absolute
  "A path from the root of a crate, or nil if it leads out of the product's crates."
  [crate module path]
  (loop [[head & more :as path] path, at nil]
    (case head
      "crate"        (recur more [crate])
      "httpkit_core" (recur more ["core"])
      "self"         (recur more (or at (into [crate] module)))
      "super"        (recur more (vec (butlast (or at (into [crate] module)))))
      (when at (into at path)))))

(defn- crate-modules [crate dir]
  (into {}
        (for [^File file (files dir ".rs")
              :let [module (module-path (relative dir file))
                    text   (without-comments-and-tests (slurp file))]]
          [(into [crate] module)
           {:uses    (for [[public? path] (uses text)
                           ;; A path may begin with a child module of the file itself.
                           :let [child (when (re-find (re-pattern (str "\\bmod " (first path) "\\s*;")) text)
                                         (into (into [crate] module) path))]
                           :let [target (or (absolute crate module path) child)]
                           :when target]
                       [public? target])
            :inline  (keep #(absolute crate module %) (inline-paths text))}])))

(defn- resolve-path
  "The module that defines what `path` names: through re-exports, the deepest one on the path."
  [modules path]
  (loop [path path, seen #{}]
    (let [module (first (filter modules (take-while seq (iterate #(vec (butlast %)) path))))
          item   (get path (count module))
          onward (when item
                   (first (for [[_ target] (:uses (modules module))
                                :when (and (= item (peek target)) (not= target path))]
                            target)))]
      (if (and onward (not (seen onward)))
        (recur onward (conj seen onward))
        module))))

(defn rust
  "The import graph of the Rust crates."
  []
  (let [modules (merge (crate-modules "core" "rust/core/src") (crate-modules "jni" "rust/jni/src"))
        title   #(str/join "/" %)]
    (into (sorted-map)
          (for [[module {:keys [uses inline]}] modules
                :let [targets (concat (for [[public? target] uses :when (not public?)] target) inline)
                      ;; A module that a file imports as such, to name its items, is that file's import too.
                      found   (keep #(resolve-path modules %) targets)]]
            [(title module) (disj (into (sorted-set) (map title) found) (title module))]))))

;; Java

(defn- java-name [file] (str "java/" (str/replace file #"^org/httpkit/|\.java$" "")))

(defn java
  "The import graph of the Java classes. Classes of the same package need no import: they are found by name."
  []
  (let [sources (into {} (for [^File file (files "java" ".java")]
                           [(java-name (relative "java" file))
                            (-> (slurp file)
                                (str/replace #"(?s)/\*.*?\*/" "")
                                (str/replace #"(?m)//.*$" "")
                                (str/replace #"\"(?:\\.|[^\"\\])*\"" ""))]))
        folder  #(subs % 0 (max 0 (.lastIndexOf ^String % "/")))
        simple  #(subs % (inc (.lastIndexOf ^String % "/")))
        siblings (group-by folder (keys sources))]
    (into (sorted-map)
          (for [[class text] sources
                :let [imported (for [[_ path] (re-seq #"import (?:static )?org\.httpkit\.([\w.]+);" text)
                                     :let [parts (str/split path #"\.")
                                           name  (first (filter sources (map #(str "java/" (str/join "/" %))
                                                                             (rest (reductions conj [] parts)))))]
                                     :when name]
                                 name)
                      words    (set (re-seq #"\b[A-Z]\w*\b" text))
                      near     (filter #(words (simple %)) (siblings (folder class)))]]
            [class (disj (into (sorted-set) (concat imported near)) class)]))))

;; Graphs

(defn room
  "The folder of a file: \"core/server\" for core/server/output, and for core/server itself if it is a folder."
  [graph file]
  (if (some #(str/starts-with? % (str file "/")) (keys graph))
    file
    (subs file 0 (max 0 (.lastIndexOf ^String file "/")))))

(defn between-rooms [graph]
  (reduce (fn [rooms [file targets]]
            (let [from (room graph file)]
              (update rooms from (fnil into (sorted-set)) (disj (set (map #(room graph %) targets)) from))))
          (sorted-map) graph))

(defn- reachable [graph from]
  (loop [seen #{}, [next & more :as todo] (seq (graph from))]
    (cond (empty? todo) seen
          (seen next)   (recur seen more)
          :else         (recur (conj seen next) (concat more (graph next))))))

(defn circles
  "Sets of files that import each other, directly or not, largest first."
  [graph]
  (let [reach (into {} (map (fn [n] [n (reachable graph n)])) (keys graph))]
    (->> (keys graph)
         (filter #(contains? (reach %) %))
         (map (fn [n] (into (sorted-set) (filter #(contains? (reach %) n)) (reach n))))
         (distinct)
         (sort-by (comp - count)))))
