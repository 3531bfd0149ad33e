(ns httpkit.files
  "Temporary files and directories."
  (:require [clojure.java.io :as io])
  (:import (java.io File)
           (java.nio.file Files LinkOption)
           (java.nio.file.attribute FileAttribute)))

(set! *warn-on-reflection* true)

(defn temporary-file
  "A file with this String or byte array, which is gone when the JVM has ended."
  ^File [content]
  (let [file (doto (File/createTempFile "httpkit" nil) (.deleteOnExit))]
    (io/copy content file)
    file))

(defn temporary-directory ^File []
  (.toFile (Files/createTempDirectory "httpkit" (make-array FileAttribute 0))))

(defn readable-directory
  "As above, readable for all: servers that root starts give their rights away."
  ^File []
  (doto (temporary-directory)
    (.setReadable true false)
    (.setExecutable true false)))

(defn delete-tree [^File dir]
  ;; Not file-seq: that one follows links.
  (when (Files/isDirectory (.toPath dir) (into-array [LinkOption/NOFOLLOW_LINKS]))
    (run! delete-tree (.listFiles dir)))
  (.delete dir))

(defmacro with-temporary-directory [name & body]
  `(let [~name (temporary-directory)]
     (try ~@body (finally (delete-tree ~name)))))
