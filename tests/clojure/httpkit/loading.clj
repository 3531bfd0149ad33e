(ns httpkit.loading
  "Runs the program in tests/java/loading, in JVMs of their own, as this user or as others."
  (:require [clojure.java.io      :as io]
            [clojure.string       :as str]
            [httpkit.java-program :as java-program]
            [httpkit.subprocess   :as subprocess])
  (:import (java.io File)
           (java.nio.file Files LinkOption Path)
           (java.nio.file.attribute FileAttribute PosixFilePermissions)))

(set! *warn-on-reflection* true)

(def ^:private no-links (into-array LinkOption [LinkOption/NOFOLLOW_LINKS]))

(def ^:private program
  (delay (java-program/compile! "tests/java/loading" (System/getProperty "java.class.path"))))

(defn- entries []
  (str/split (System/getProperty "java.class.path") #":"))

(defn class-path
  "What the program needs."
  []
  (str/join ":" (cons @program
                      (filter #(or (re-find #"/(clojure|spec|core\.specs|http-kit)[^/]*\.jar$" %)
                                   (re-find #"build/(classes/java/main|native)$" %))
                              (entries)))))

(defn start
  "Starts `java <jvm-args> -cp <class-path> loading.Loading <args>`.

  Options: :jvm-args (strings), :env (map added to the environment), :class-path (default: the above), :user (number
  of the user that runs it, in a group of the same number)."
  ^Process [args & {:keys [jvm-args env user] :as options}]
  (let [command (concat (when user
                          ["setpriv" (str "--reuid=" user) (str "--regid=" user) "--clear-groups"])
                        [subprocess/java-command "--enable-native-access=ALL-UNNAMED"] jvm-args
                        ["-cp" (:class-path options (class-path)) "loading.Loading"] (map str args))
        builder (ProcessBuilder. ^java.util.List (vec command))]
    (.redirectErrorStream builder true)
    (.directory builder (io/file (System/getProperty "user.dir")))
    (.putAll (.environment builder) (or env {}))
    (.start builder)))

(defn run
  "Lines that the program prints."
  [args & options]
  (let [{:keys [exit out] :as result} (subprocess/finish (apply start args options))]
    (if (zero? exit)
      (str/split-lines out)
      (throw (ex-info "The JVM failed" result)))))

(defn make-dir
  "Makes a directory, with permissions such as \"rwx------\", of a user if given."
  ^File [^File dir permissions & [user]]
  (.mkdirs dir)
  (Files/setPosixFilePermissions (.toPath dir) (PosixFilePermissions/fromString permissions))
  (when user
    (Files/setAttribute (.toPath dir) "unix:uid" (int user) no-links))
  dir)

(defn owner [^File file]
  (Files/getAttribute (.toPath file) "unix:uid" no-links))

(defn link! [^File from ^File to]
  (Files/createSymbolicLink (.toPath from) (.toPath to) (make-array FileAttribute 0)))

(defn names [^File dir]
  (vec (sort (map #(.getName ^File %) (.listFiles dir)))))

(defn path ^Path [^File file]
  (.toPath file))
