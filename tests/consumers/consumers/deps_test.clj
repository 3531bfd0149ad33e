(ns consumers.deps-test
  "A scratch project that depends on http-kit by :local/root, resolved by tools.deps itself: on the jar, and on a
  checkout, which has to be prepared (built) first."
  (:require [clojure.edn        :as edn]
            [clojure.java.io    :as io]
            [clojure.java.shell :refer [sh]]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is]]
            [clojure.tools.deps :as deps]
            [httpkit.files      :as files]
            [httpkit.subprocess :as subprocess])
  (:import [java.io File]))

(def ^:private hello (slurp "tests/consumers/hello.clj"))

(defn- basis-with [root]
  (deps/create-basis
    {:user    nil
     :project {:deps {'org.clojure/clojure {:mvn/version "1.12.4"}
                      'http-kit/http-kit   {:local/root (str root)}}}}))

(defn- run-with [basis]
  (subprocess/run hello :class-path (str/join ":" (:classpath-roots basis))))

(defn- says-hello [{:keys [exit out]}]
  (is (zero? exit) out)
  (is (= "hello /world" (:body (edn/read-string (last (str/split-lines out))))) out))

(deftest a-project-uses-the-jar-by-local-root
  (let [basis (basis-with (System/getProperty "httpkit.jar"))]
    (is (= #{'org.clojure/clojure 'org.clojure/spec.alpha 'org.clojure/core.specs.alpha 'http-kit/http-kit}
           (set (keys (:libs basis))))
        "it brings nothing but itself")
    (says-hello (run-with basis))))

(defn- copy-of-checkout
  "The files that git knows, as a fresh clone has them."
  [^File target]
  (doseq [path (str/split-lines (:out (sh "git" "ls-files" "--cached" "--others" "--exclude-standard")))
          :let [source (io/file path), copy (io/file target path)]
          :when (.isFile source)]
    (io/make-parents copy)
    (io/copy source copy)))

(deftest a-project-uses-the-checkout-by-local-root-once-it-is-prepared
  (let [checkout (files/temporary-directory)]
    (try
      (copy-of-checkout checkout)
      (let [{:keys [libs] :as basis} (basis-with checkout)]
        (is (thrown-with-msg? Exception #"must be prepared" (deps/prep-libs! libs {:action :error} basis)))
        (is (nil? (deps/prep-libs! libs {:action :prep :log :info} basis)))
        (says-hello (run-with basis)))
      (finally (files/delete-tree checkout)))))

(deftest without-gradle-preparing-says-what-it-needs
  (let [checkout (files/temporary-directory)
        script   (str "(require '[clojure.tools.deps :as deps])"
                      (format "(let [basis (deps/create-basis {:user nil :project {:deps {'http-kit/http-kit {:local/root \"%s\"}}}})]
                                 (deps/prep-libs! (:libs basis) {:action :prep} basis))"
                              checkout))]
    (try
      (copy-of-checkout checkout)
      (let [{:keys [exit out]} (subprocess/run script :env {"PATH" (.getParent (io/file subprocess/java-command))})]
        (is (not (zero? exit)))
        (is (str/includes? out "Building http-kit needs `gradle` and `cargo` on the PATH") out)
        (is (str/includes? out "Error building http-kit/http-kit") out)
        (is (not (str/includes? out "could not be resolved")) out))
      (finally (files/delete-tree checkout)))))
