(ns consumers.native-image-test
  "GraalVM's configuration is made of what the native library looks up while a program runs, as an agent sees it, and of
  what it needs only when something fails.

  System properties: `httpkit.jar`; with `httpkit.write`, the configuration is written instead of compared."
  (:require [clojure.java.io  :as io]
            [clojure.string   :as str]
            [clojure.test     :refer [deftest is]]
            [consumers.smoked :as smoked]))

(def ^:private home "java/META-INF/native-image/http-kit/http-kit")

(def ^:private when-something-fails
  "Classes and their methods: what is thrown from Rust, an array that is made for clients' certificates, and what is done
  when the library is unloaded."
  (merge
    (into {} (for [thrown '[java.io.IOException java.lang.IllegalArgumentException java.lang.IllegalStateException
                            java.lang.UnsatisfiedLinkError java.net.BindException java.net.ConnectException]]
               [(str thrown) #{["<init>" ["java.lang.String"]]}]))
    {"java.lang.Object" #{}
     "java.lang.System" #{["clearProperty" ["java.lang.String"]]}}))

(defn- agent-in
  "Compiles the agent."
  [dir]
  (let [library (io/file dir "liblookups.so")
        include (io/file (System/getProperty "java.home") "include")
        made    (smoked/run ["cc" "-shared" "-fPIC" "-O1" "-Wall" "-Wextra" "-Werror" (str "-I" include)
                             (str "-I" (io/file include "linux")) "tests/native-image/lookups.c" "-o" library])]
    (is (zero? (:exit made)) (:out made))
    library))

(def ^:private primitives
  {"Z" "boolean" "B" "byte" "C" "char" "S" "short" "I" "int" "J" "long" "F" "float" "D" "double"})

(defn- type-name [^String descriptor]
  (cond
    (str/starts-with? descriptor "[") (str (type-name (subs descriptor 1)) "[]")
    (str/starts-with? descriptor "L") (str/replace (subs descriptor 1 (dec (count descriptor))) "/" ".")
    :else                             (primitives descriptor)))

(defn- parameters [signature]
  (mapv type-name (re-seq #"\[*(?:L[^;]+;|[ZBCSIJFD])" (second (re-find #"^\((.*)\)" signature)))))

(defn- lookups
  "{:found classes that were looked up by FindClass, :methods {class #{[name parameters]}}}"
  []
  (smoked/with-directory
    (fn [dir]
      (let [out          (io/file dir "lookups")
            java         (io/file (System/getProperty "java.home") "bin" "java")
            clojure-jars (filter #(re-find #"/(clojure|spec\.alpha|core\.specs\.alpha)-[^/]*\.jar$" %)
                                 (str/split (System/getProperty "java.class.path") #":"))
            [java & more] (apply smoked/from-class-path java (System/getProperty "httpkit.jar") clojure-jars)]
        (smoked/serves (list* java (str "-agentpath:" (agent-in dir) "=" out) more))
        (reduce (fn [found line]
                  (let [[kind class-name member signature] (str/split line #" ")]
                    (case kind
                      "class"  (update found :found conj (str/replace class-name "/" "."))
                      "method" (update-in found [:methods class-name] (fnil conj #{}) [member (parameters signature)]))))
                {:found #{} :methods {}}
                (str/split-lines (slurp out)))))))

(defn- json-list [lines]
  (str "[\n  " (str/join ",\n  " lines) "\n]\n"))

(defn- method-entry [[method-name types]]
  (format "{\"name\": \"%s\", \"parameterTypes\": [%s]}" method-name (str/join ", " (map #(str \" % \") types))))

(defn- jni-entry [[class-name methods]]
  (format "{\"name\": \"%s\"%s}" class-name
          (cond
            (str/starts-with? class-name "org.httpkit.") ", \"allDeclaredMethods\": true, \"allPublicMethods\": true"
            (seq methods) (str ", \"methods\": [" (str/join ", " (map method-entry (sort methods))) "]")
            :else         "")))

(defn- configuration
  "File -> text."
  [{:keys [found methods]}]
  (let [all     (merge-with into (into {} (map vector found (repeat #{}))) methods when-something-fails)
        ;; Which the `jni` crate finds by Class.forName.
        by-name (remove found (keys methods))]
    {"jni-config.json"     (json-list (map jni-entry (sort-by key all)))
     "reflect-config.json" (json-list (map #(format "{\"name\": \"%s\"}" %) (sort by-name)))}))

(deftest the-configuration-has-what-the-library-looks-up-and-nothing-else
  (let [{:keys [found methods] :as seen} (lookups)]
    (is (contains? found "org.httpkit.jni.ServerUpcalls"))
    (is (contains? (methods "org.httpkit.jni.ServerUpcalls") ["onWork" ["byte[][]"]]))
    (doseq [[file text] (configuration seen) :let [path (io/file home file)]]
      (when (System/getProperty "httpkit.write")
        (spit path text))
      (is (= text (when (.exists path) (slurp path))) (str path ": ./dev native-image --write")))))
