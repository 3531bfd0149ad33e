(ns consumers.jlink-test
  "A runtime image that has only the modules that docs/packaging.md names.

  System properties: those of consumers.jar-test."
  (:require [clojure.java.io  :as io]
            [clojure.string   :as str]
            [clojure.test     :refer [deftest is]]
            [consumers.smoked :as smoked]))

(def ^:private documented
  (second (re-find #"jlink --add-modules (\S+)" (slurp "docs/packaging.md"))))

(def ^:private clojure-jars
  (filter #(re-find #"/(clojure|spec\.alpha|core\.specs\.alpha)-[^/]*\.jar$" %)
          (str/split (System/getProperty "java.class.path") #":")))

(deftest serves-from-a-runtime-with-the-documented-modules-only
  (smoked/with-directory
    (fn [dir]
      (let [image (io/file dir "image")
            jlink (io/file (System/getProperty "java.home") "bin" "jlink")
            ;; java.net.http is for the program's own WebSocket client.
            made  (smoked/run [jlink "--add-modules" (str documented ",java.net.http") "--output" image])
            java  (io/file image "bin" "java")]
        (is (zero? (:exit made)) (:out made))
        (is (= (conj (set (str/split documented #",")) "java.net.http")
               (set (map #(first (str/split % #"@")) (str/split-lines (:out (smoked/run [java "--list-modules"]))))))
            "they bring no others")
        (smoked/serves (apply smoked/from-class-path java (System/getProperty "httpkit.jar") clojure-jars))))))
