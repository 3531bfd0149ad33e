(ns httpkit.library-users-test
  "One machine, several users: none of them gets code into another's JVM, and none keeps another's from starting.

  Needs root, to act as two users."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.files      :as files]
            [httpkit.loading    :as loading]
            [httpkit.subprocess :as subprocess])
  (:import (java.io File)
           (java.nio.file Files LinkOption StandardCopyOption)
           (java.nio.file.attribute FileTime PosixFilePermissions)))

(set! *warn-on-reflection* true)

;; Numbers without names, as containers have them.
(def ^:private user 61001)
(def ^:private other 61002)

(defn- command [& words]
  (:exit (subprocess/finish (.start (.redirectErrorStream (ProcessBuilder. ^java.util.List (vec words)) true)))))

(def ^:private two-users?
  (delay
    (or (try (zero? (command "setpriv" (str "--reuid=" user) "true"))
             (catch java.io.IOException _ false))
        (println "left out: tests of two users need root and setpriv"))))

(defn- readable-class-path
  "A copy of the class path that all users can read, since a checkout may be private."
  [dir]
  (loading/make-dir dir "rwxr-xr-x")
  (str/join ":" (map-indexed (fn [i entry]
                               (let [copy (str (io/file dir (str i "-" (.getName (io/file entry)))))]
                                 (command "cp" "-r" "--no-preserve=mode,ownership" entry copy)
                                 copy))
                             (str/split (loading/class-path) #":"))))

(defn- set-mode! [^File file mode]
  (Files/setAttribute (.toPath file) "unix:mode" (int mode) (make-array LinkOption 0)))

(defn- with-machine
  "Calls `f` with a directory that has tmp/ (for all, as /tmp is), home/ (the user's) and other/ (the other user's),
  and with a function that runs the program as the user."
  [f]
  (when @two-users?
    (files/with-temporary-directory dir
      (loading/make-dir dir "rwxr-xr-x")
      (set-mode! (loading/make-dir (io/file dir "tmp") "rwxrwxrwx") 01777)
      (loading/make-dir (io/file dir "home") "rwx------" user)
      (loading/make-dir (io/file dir "other") "rwxr-xr-x" other)
      (let [class-path (readable-class-path (io/file dir "classes"))]
        (f dir
           (fn [& {:keys [args cache as tmp jvm-args] :or {args ["report"], as user, tmp (io/file dir "tmp")}}]
             (loading/run args
                          :user       as
                          :class-path class-path
                          :jvm-args   (cons (str "-Djava.io.tmpdir=" tmp) jvm-args)
                          :env        (when cache {"XDG_CACHE_HOME" (str cache)}))))))))

(defn- within? [^File dir file]
  (str/starts-with? (str file) (str dir "/")))

(defn- all-files [dir]
  (filter #(.isFile ^File %) (file-seq dir)))

(deftest a-user-without-a-name-has-a-directory-by-number
  (with-machine
    (fn [dir run]
      (doseq [n [user other]]
        (let [file (io/file (first (run :as n)))]
          (is (= (str (io/file dir "tmp" (str "http-kit-" n))) (.getParent file)))
          (is (= n (loading/owner file)))
          (testing "and finds the file there again"
            (.setLastModified file 1000000000000)
            (is (= [(str file)] (run :as n)))
            (is (= 1 (count (.listFiles (.getParentFile file)))))))))))

(deftest a-cache-directory-of-another-user-is-not-used
  (with-machine
    (fn [dir run]
      (doseq [permissions ["rwxr-xr-x" "rwxrwxrwx"]]
        (testing permissions
          (let [cache (loading/make-dir (io/file dir "other" "http-kit") permissions other)
                file  (first (run :cache (io/file dir "other")))]
            (is (within? (io/file dir "tmp") file))
            (is (empty? (.listFiles cache)))))))))

(deftest another-user-who-makes-the-directories-first-keeps-none-from-loading
  (with-machine
    (fn [dir run]
      (let [tmp    (io/file dir "tmp")
            first? (io/file tmp (str "http-kit-" user))]
        (doseq [[what make] {"a directory" #(loading/make-dir first? "rwxrwxrwx" other)
                             "a link"      #(loading/link! first? (loading/make-dir (io/file dir "other" "trap") "rwxrwxrwx" other))
                             "a file"      #(spit first? "")}]
          (testing what
            (make)
            (let [file (io/file (first (run)))]
              (is (re-find #"^http-kit-\d+$" (.getName (.getParentFile file))))
              (is (not= first? (.getParentFile file)))
              (is (= [(.getName first?)] (loading/names tmp)) "the fresh directory is gone")
              (is (empty? (all-files (io/file dir "other"))) "nothing was written for the other user"))
            (files/delete-tree first?)))))))

(deftest a-link-to-a-private-directory-is-followed-and-one-to-another-users-is-not
  (with-machine
    (fn [dir run]
      (let [cache (io/file dir "home" "http-kit")]
        (doseq [[target followed?] {(loading/make-dir (io/file dir "home" "big-disk") "rwx------" user) true
                                    (loading/make-dir (io/file dir "other" "trap") "rwxrwxrwx" other)   false}]
          (loading/link! cache target)
          (let [file (first (run :cache (io/file dir "home")))]
            (is (= followed? (within? target file)) file)
            (is (= followed? (boolean (seq (.listFiles ^File target)))) (str target)))
          (.delete cache))))))

(defn- foreign-library
  "Any library but ours: loads, and is not ours."
  []
  (first (filter #(re-find #"/libzip\.so$|/libnet\.so$" (str %))
                 (file-seq (io/file (System/getProperty "java.home") "lib")))))

(defn- plant!
  "Puts a foreign library into a directory of the other user's, under every name in `names`."
  [^File dir names]
  (loading/make-dir dir "rwxr-xr-x" other)
  (doseq [library names :let [file (io/file dir library)]]
    (io/copy (foreign-library) file)
    (set-mode! file 0755)
    (Files/setAttribute (.toPath file) "unix:uid" (int other) (make-array LinkOption 0))))

(defn- flip-until
  "Lets `link` lead to each of `targets` in turn until `done`, a promise."
  [link targets done]
  (let [fresh (io/file (str link "-next"))]
    (doseq [target (cycle targets) :while (not (realized? done))]
      (loading/link! fresh target)
      (Files/move (.toPath fresh) (.toPath ^File link)
                  (into-array java.nio.file.CopyOption [StandardCopyOption/ATOMIC_MOVE])))))

(deftest a-link-that-changes-during-starts-never-leads-to-another-users-library
  (with-machine
    (fn [dir run]
      (let [home   (io/file dir "home")
            known  (.getName (io/file (first (run :cache home))))
            link   (io/file dir "other" "link")
            trap   (io/file dir "other" "trap")
            done   (promise)]
        (loading/make-dir trap "rwxr-xr-x" other)
        (plant! (io/file trap "http-kit") [known])
        (loading/link! link home)
        (let [flipping (future (flip-until link [trap home] done))]
          (try
            (doseq [start (range 4)
                    :let  [lines (run :cache link :args ["loaders" 8])
                           files (butlast lines)]]
              (testing (str "start " start)
                (is (= 8 (count (set files))))
                (is (every? #(or (within? home %) (within? (io/file dir "tmp") %)) files) (pr-str files))
                (is (not (str/includes? (last lines) (str trap))) "images in memory")))
            (finally
              (deliver done true)
              (deref flipping 10000 nil))))))))

(deftest a-place-where-others-can-rename-is-not-used
  (with-machine
    (fn [dir run]
      (let [open (loading/make-dir (io/file dir "open") "rwxrwxrwx")]
        (testing "for the cache"
          (is (within? (io/file dir "tmp") (first (run :cache (loading/make-dir (io/file open "mine") "rwx------" user))))))
        (testing "for the temporary directory: without another place, the reason is told"
          (let [said (str/join "\n" (run :tmp open))]
            (is (str/includes? said (str open ": other users can change what is there")))
            (is (str/includes? said "-Dhttp-kit.native.dir"))
            (is (empty? (all-files open)))))
        (testing "unless the user names it"
          (is (within? open (first (run :jvm-args [(str "-Dhttp-kit.native.dir=" open)])))))))))

(deftest a-file-that-others-can-write-is-replaced
  (with-machine
    (fn [dir run]
      (let [home (io/file dir "home")
            file (io/file (first (run :cache home)))
            node #(Files/getAttribute (.toPath file) "unix:ino" (make-array LinkOption 0))
            was  (node)]
        (is (= [(str file)] (run :cache home)))
        (is (= was (node)) "the file is used again")
        (set-mode! file 0777)
        (is (= [(str file)] (run :cache home)))
        (is (not= was (node)))
        (is (= 0700 (bit-and 0777 (Files/getAttribute (.toPath file) "unix:mode" (make-array LinkOption 0)))))))))

(deftest libraries-that-no-start-needs-any-more-are-removed
  (with-machine
    (fn [dir run]
      (let [home   (io/file dir "home")
            cache  (io/file home "http-kit")
            known  (.getName (io/file (first (run :cache home))))
            name-of #(str/replace known #"-[0-9a-f]{32}" (str "-" (apply str (repeat 32 %))))
            two-hours-ago (FileTime/fromMillis (- (System/currentTimeMillis) 7200000))
            add    (fn [file-name owner old?]
                     (let [file (io/file cache file-name)]
                       (spit file "")
                       (Files/setAttribute (.toPath file) "unix:uid" (int owner) (make-array LinkOption 0))
                       (when old? (Files/setLastModifiedTime (.toPath file) two-hours-ago))))]
        (add (name-of "0") user true)
        (add (str/replace (name-of "1") ".so" "-copy3-1234.so") user true)
        (add ".unpack123.tmp" user true)
        (add (name-of "2") user false)
        (add (name-of "3") other true)
        (add "notes.txt" user true)
        (run :cache home)
        (is (= (sort [known (name-of "2") (name-of "3") "notes.txt"]) (loading/names cache))
            "those stay that were used lately, are another user's, or not ours")))))

(deftest a-library-that-a-process-has-loaded-is-not-removed
  (with-machine
    (fn [dir run]
      (let [home  (io/file dir "home")
            file  (io/file (first (run :cache home)))
            cache (.getParentFile file)
            used  (io/file cache (str/replace (.getName file) #"-[0-9a-f]{32}" (str "-" (apply str (repeat 32 "a")))))]
        (.renameTo file used)
        ;; Another version's JVM, as far as the file's name says.
        (let [process (loading/start ["hold"] :user user :class-path (readable-class-path (io/file dir "again"))
                                     :jvm-args [(str "-Dhttp-kit.native.path=" used)])]
          (try
            (is (= (str used) (.readLine ^java.io.BufferedReader (io/reader (.getInputStream process)))))
            (.setLastModified used 1000000000000)
            (run :cache home)
            (is (.exists used))
            (finally
              (.destroy process)
              (.waitFor process))))
        (run :cache home)
        (is (not (.exists used)) "once it has ended")))))
