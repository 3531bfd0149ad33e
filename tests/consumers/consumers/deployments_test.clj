(ns consumers.deployments-test
  "The library in uberjars that build tools make, and on each Java and Clojure that it supports.

  System properties: `httpkit.version`, `httpkit.repository` (of `./dev publish-bundle`), `httpkit.jar`, and
  `httpkit.javas`, a path of `java` commands."
  (:require [clojure.java.io           :as io]
            [clojure.string            :as str]
            [clojure.test              :refer [deftest is testing]]
            [clojure.tools.build.api   :as build]
            [consumers.smoked          :as smoked])
  (:import (java.io File)))

(def ^:private version (System/getProperty "httpkit.version"))
(def ^:private repository (str "file:" (System/getProperty "httpkit.repository")))
(def ^:private javas (str/split (System/getProperty "httpkit.javas") #":"))

(defn- local-repository
  "Of a tool: it keeps what it fetched, but not this version, which is made anew."
  [tool]
  (let [dir (.getAbsoluteFile (io/file "build" "tmp" "consumers" tool))]
    (run! #(.delete ^File %) (reverse (file-seq (io/file dir "http-kit"))))
    (str dir)))

(defn- sources-in
  "Puts the program where build tools look for it."
  [dir path]
  (let [copy (io/file dir path "smoke.clj")]
    (io/make-parents copy)
    (io/copy (io/file smoked/sources "smoke.clj") copy)))

(defn- succeeds [{:keys [exit out]}]
  (is (zero? exit) out))

(defn- uberjar-in [dir]
  (let [found (filter #(re-find #"(standalone|-all|uber)\.jar$" (str %)) (file-seq dir))]
    (is (= 1 (count found)) (vec found))
    (first found)))

(defn- serves-on-each-java [uberjar & options]
  (doseq [java javas]
    (testing java
      (smoked/serves (concat [java] options ["-jar" uberjar])))))

(deftest an-uberjar-of-tools-build-serves
  (smoked/with-directory
    (fn [dir]
      (sources-in dir "src")
      (binding [build/*project-root* (str dir)]
        (let [basis (build/create-basis
                      {:user    nil
                       :project {:paths          ["src"]
                                 :deps           {'org.clojure/clojure {:mvn/version "1.12.4"}
                                                  'http-kit/http-kit   {:mvn/version version}}
                                 :mvn/repos      {"here" {:url repository}, "clojars" nil}
                                 :mvn/local-repo (local-repository "tools.deps")}})]
          (build/compile-clj {:basis basis, :ns-compile ['smoke], :class-dir "classes", :java-cmd (first javas)})
          (build/uber {:basis basis, :class-dir "classes", :uber-file "uber.jar", :main 'smoke
                       :manifest {"Enable-Native-Access" "ALL-UNNAMED"}})))
      (serves-on-each-java (uberjar-in dir)))))

(deftest an-uberjar-of-leiningen-serves
  (smoked/with-directory
    (fn [dir]
      (sources-in dir "src")
      (spit (io/file dir "project.clj")
            (pr-str (list 'defproject 'scratch "1"
                          :local-repo (local-repository "leiningen")
                          :repositories [["here" repository]]
                          :dependencies [['org.clojure/clojure "1.10.3"] ['http-kit version]]
                          :java-cmd (first javas)
                          :manifest {"Enable-Native-Access" "ALL-UNNAMED"}
                          :main 'smoke
                          :aot ['smoke])))
      (succeeds (smoked/run ["lein" "with-profile" "-base,-dev,-user" "uberjar"] :dir dir))
      (serves-on-each-java (uberjar-in dir)))))

(def ^:private shadow-build "
buildscript {
    repositories { mavenCentral() }
    dependencies { classpath 'com.github.jengelman.gradle.plugins:shadow:4.0.4' }
}
apply plugin: 'java'
apply plugin: 'com.github.johnrengelman.shadow'
repositories {
    maven { url '%s' }
    mavenCentral()
}
dependencies {
    compile 'org.clojure:clojure:1.12.4'
    compile 'http-kit:http-kit:%s'
}
shadowJar {
    // The program's own dependencies under other names, as is common for libraries inside applications.
    relocate 'clojure.asm', 'scratch.asm'
    manifest { attributes 'Main-Class': 'clojure.main', 'Enable-Native-Access': 'ALL-UNNAMED' }
}
")

(deftest an-uberjar-of-gradles-shadow-serves
  (smoked/with-directory
    (fn [dir]
      (sources-in dir "src/main/resources")
      (spit (io/file dir "settings.gradle") "rootProject.name = 'scratch'\n")
      (spit (io/file dir "build.gradle") (format shadow-build repository version))
      (succeeds (smoked/run ["gradle" "--no-daemon" "-q" "-g" (str (io/file dir "gradle")) "shadowJar"] :dir dir))
      (let [uberjar (uberjar-in dir)]
        (doseq [java javas]
          (testing java
            (smoked/serves [java "-jar" uberjar "-m" "smoke"])))))))

(defn- clojure-jars [set]
  (filter #(str/ends-with? (str %) ".jar") (.listFiles (io/file "build/test-jars" set))))

(deftest serves-on-each-java-with-the-newest-clojure
  (doseq [java javas]
    (testing java
      (smoked/serves (apply smoked/from-class-path java (System/getProperty "httpkit.jar") (clojure-jars "clojure12"))))))

(deftest serves-on-each-clojure-with-the-oldest-and-the-newest-java
  (doseq [set ["clojure9" "clojure10" "clojure11"], java [(first javas) (last javas)]]
    (testing (str set " " java)
      (smoked/serves (apply smoked/from-class-path java (System/getProperty "httpkit.jar") (clojure-jars set))))))
