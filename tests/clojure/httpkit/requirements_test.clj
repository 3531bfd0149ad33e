(ns httpkit.requirements-test
  "Java and Clojure that are too old are told so."
  (:require [clojure.edn              :as edn]
            [clojure.string           :as str]
            [clojure.test             :refer [are deftest is]]
            [httpkit.subprocess       :as subprocess]
            [org.httpkit.requirements :as requirements]))

(defn- complaint [java clojure]
  (try
    (requirements/check! java clojure)
    (catch UnsupportedOperationException e
      (.getMessage e))))

(deftest the-oldest-java-and-clojure-are-named-and-what-is-there
  (are [java clojure expected] (str/includes? (complaint java clojure) expected)
    "1.8" {:major 1 :minor 12} "needs Java 11 or later, and this is Java 8 ("
    "10"  {:major 1 :minor 12} "needs Java 11 or later, and this is Java 10 ("
    "11"  {:major 1 :minor 8}  "needs Clojure 1.9 or later, and this is Clojure 1.8")
  (are [java clojure] (nil? (complaint java clojure))
    "11" {:major 1 :minor 9}
    "25" {:major 1 :minor 12}
    "25" {:major 2 :minor 0}))

(def ^:private namespaces
  '[org.httpkit.client org.httpkit.server org.httpkit.sni-client org.httpkit.sse org.httpkit.stats org.httpkit.timer
    org.httpkit.topics org.httpkit.utils])

(deftest an-old-java-is-told-before-any-class-is-loaded
  ;; Without our classes: a namespace that looked for one first would miss it.
  (let [script     (str "(do (System/setProperty \"java.specification.version\" \"1.8\") nil)"
                        "(prn (into {} (for [n '" (pr-str namespaces) "]"
                        ;; As if each were the first that a program loads.
                        "  [n (try (dosync (alter @#'clojure.core/*loaded-libs* disj 'org.httpkit.requirements))"
                        "          (require n) (catch Throwable t"
                        "            (str (last (take-while some? (iterate #(.getCause ^Throwable %) t))))))])))")
        class-path (->> (str/split (System/getProperty "java.class.path") #":")
                        (filter #(re-find #"(^clojure$|/clojure/?$|(clojure|spec\.alpha|core\.specs\.alpha)-[^/]*\.jar$)" %))
                        (str/join ":"))
        said       (edn/read-string (:out (subprocess/run script :class-path class-path)))]
    (is (= (set namespaces) (set (keys said))))
    (doseq [[n message] said]
      (is (str/includes? (str message) "http-kit on Rust needs Java 11 or later, and this is Java 8") n))))
