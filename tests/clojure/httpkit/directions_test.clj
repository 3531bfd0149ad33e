(ns httpkit.directions-test
  "The arrows between rooms are those of the table in ARCHITECTURE.md, and no others."
  (:require [clojure.set     :as set]
            [clojure.string  :as str]
            [clojure.test    :refer [deftest is testing]]
            [httpkit.imports :as imports]))

(defn- section [title text]
  (second (re-find (re-pattern (str "(?s)\n## " title "\n(.*?)(?:\n## |$)")) text)))

(defn- table
  "The rows `| room | may import |` of the section Directions: room -> set of rooms."
  []
  (into {}
        (for [line (str/split-lines (section "Directions" (slurp "ARCHITECTURE.md")))
              :let [[_ room targets] (re-matches #"\| `([^`]+)` \|([^|]*)\|" line)]
              :when room]
          [room (set (map second (re-seq #"`([^`]+)`" targets)))])))

(defn- arrows [rooms]
  (set (for [[from targets] rooms, to targets] [from to])))

(deftest every-import-goes-where-the-table-allows
  (let [allowed (table)
        found   (imports/between-rooms (merge (imports/rust) (imports/java)))]
    (is (= (set (keys found)) (set (keys allowed))) "rooms")
    (is (empty? (set/difference (arrows found) (arrows allowed))) "imports that the table does not allow")
    (is (empty? (set/difference (arrows allowed) (arrows found))) "arrows of the table that nothing uses")))

(deftest no-rooms-of-the-core-import-each-other
  (is (empty? (imports/circles (imports/between-rooms (imports/rust))))))

(deftest of-the-servers-files-only-four-import-each-other
  (is (= [#{"core/server/connection" "core/server/exchange" "core/server/shared" "core/server/sink"}]
         (filter (fn [circle] (some #(str/starts-with? % "core/server") circle))
                 (imports/circles (imports/rust))))))

(deftest the-reader-of-imports-sees-every-form
  (let [graph (imports/rust)]
    (testing "use of a module, of an item in braces, of a re-exported item, and a path in code"
      (is (contains? (graph "core/server/respond") "core/h1/response"))
      (is (contains? (graph "core/server/exchange") "core/ws/frame"))
      (is (contains? (graph "jni/server/exchange") "core/server/exchange")))
    (testing "tests' imports do not count"
      (is (not (contains? (graph "core/server/output") "core/server"))))
    (is (= [#{"a" "b" "c"} #{"d" "e"}]
           (imports/circles {"a" #{"b"} "b" #{"c"} "c" #{"a" "d"} "d" #{"e"} "e" #{"d"}})))))
