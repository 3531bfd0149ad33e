(ns httpkit.library-mounts-test
  "File systems as containers have them: read-only, not executable, or both.

  Needs root, to mount; each test does so in a mount namespace of its own."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is]]
            [httpkit.files      :as files]
            [httpkit.loading    :as loading]
            [httpkit.subprocess :as subprocess])
  (:import (java.io File)))

(set! *warn-on-reflection* true)

(defn- shell
  "`script` run by sh in a mount namespace, with $1, $2 ... as `args`."
  [script & args]
  (subprocess/finish
    (.start (.redirectErrorStream
              (ProcessBuilder. ^java.util.List (into ["unshare" "--mount" "sh" "-ec" script "sh"] (map str args)))
              true))))

(def ^:private mounts?
  (delay
    (or (try (zero? (:exit (shell "mount -t tmpfs tmpfs /mnt")))
             (catch java.io.IOException _ false))
        (println "left out: tests of mounts need root and unshare"))))

(defn- load-with
  "What a JVM prints that loads the library after `mounts`, a shell script that may use $dir. $dir/home and $dir/tmp are
  the user's home and temporary directory."
  [^File dir mounts & jvm-args]
  (apply shell (str "dir=$1; shift; " mounts "; exec \"$@\"")
         (concat [dir "env" (str "XDG_CACHE_HOME=" dir "/home") subprocess/java-command
                  "--enable-native-access=ALL-UNNAMED" (str "-Djava.io.tmpdir=" dir "/tmp")
                  ;; The JVM's own counters are in /tmp.
                  "-XX:-UsePerfData"]
                 jvm-args
                 ["-cp" (loading/class-path) "loading.Loading" "report"])))

(defn- with-dirs [f]
  (when @mounts?
    (files/with-temporary-directory dir
      (run! #(loading/make-dir (io/file dir %) "rwx------") ["home" "tmp" "chosen"])
      (f dir))))

(def ^:private noexec "for d in home tmp; do mount -t tmpfs -o noexec,mode=0700 tmpfs $dir/$d; done")

(deftest a-mount-that-forbids-to-run-code-is-named
  (with-dirs
    (fn [dir]
      (let [{:keys [out]} (load-with dir noexec)]
        (is (str/includes? out (str "(" dir "/home is mounted noexec)")) out)
        (is (str/includes? out (str "(" dir "/tmp is mounted noexec)")) out)
        (is (str/includes? out "-Dhttp-kit.native.dir=") out)))))

(deftest a-directory-on-another-mount-is-the-way-out
  (with-dirs
    (fn [dir]
      (let [{:keys [exit out]} (load-with dir noexec (str "-Dhttp-kit.native.dir=" dir "/chosen"))]
        (is (zero? exit) out)
        (is (str/includes? out (str dir "/chosen/")) out)))))

(deftest a-named-file-that-its-mount-forbids-to-run-is-loaded-from-a-copy
  (with-dirs
    (fn [dir]
      (let [unpacked (str/trim (:out (load-with dir ":" (str "-Dhttp-kit.native.dir=" dir "/chosen"))))
            copied   (fn [into] (load-with dir (str noexec "; cp " unpacked " $dir/home/mine.so")
                                           (str "-Dhttp-kit.native.path=" dir "/home/mine.so")
                                           (str "-Dhttp-kit.native.dir=" dir "/" into)))]
        (let [{:keys [exit out]} (copied "chosen")]
          (is (zero? exit) out)
          (is (str/starts-with? out (str dir "/chosen/")) out))
        (let [{:keys [out]} (copied "tmp")]
          (is (re-find (re-pattern (str dir "/home/mine.so: .*\\(" dir "/home is mounted noexec\\)")) out) out)
          (is (str/includes? out (str "(" dir "/tmp is mounted noexec)")) out))))))

(deftest a-temporary-directory-is-enough-where-all-else-is-read-only
  (with-dirs
    (fn [dir]
      (let [{:keys [exit out]} (load-with dir (str "mount --make-rprivate /; mount -t tmpfs -o mode=0700 tmpfs $dir/tmp;"
                                                   " mount --bind $dir/home $dir/home; mount -o remount,bind,ro $dir/home"))]
        (is (zero? exit) out)
        (is (str/includes? out (str dir "/tmp/http-kit-")) out)))))
