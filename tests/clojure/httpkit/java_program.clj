(ns httpkit.java-program
  "Java sources of the tests, compiled when they are asked for."
  (:require [clojure.java.io :as io]
            [clojure.string  :as str])
  (:import (java.io ByteArrayOutputStream)
           (java.net URL URLClassLoader)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)
           (javax.tools ToolProvider)))

(set! *warn-on-reflection* true)

(defn compile!
  "Compiles the sources under a directory against a class path, warnings being errors. Returns the
  directory of the classes."
  [source-dir class-path]
  (let [out     (str (Files/createTempDirectory "java-program" (make-array FileAttribute 0)))
        sources (filter #(str/ends-with? % ".java") (map str (file-seq (io/file source-dir))))
        said    (ByteArrayOutputStream.)
        status  (.run (ToolProvider/getSystemJavaCompiler) nil nil said
                      (into-array String (into ["-Xlint:all" "-Werror" "--release" "11" "-cp" class-path "-d" out]
                                               sources)))]
    (when-not (zero? status)
      (throw (ex-info (str "javac: " said) {:type ::not-compiled})))
    out))

(defn loader
  "A loader of compiled classes, below another one."
  ^ClassLoader [dir ^ClassLoader parent]
  (URLClassLoader. (into-array URL [(.toURL (.toURI (io/file dir)))]) parent))
