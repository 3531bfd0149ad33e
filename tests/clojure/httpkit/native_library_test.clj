(ns httpkit.native-library-test
  (:require [clojure.edn        :as edn]
            [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.files      :as files]
            [httpkit.subprocess :as subprocess])
  (:import [java.io File]
           [java.nio.file Files LinkOption]
           [java.nio.file.attribute FileAttribute PosixFilePermissions]))

(def ^:private load-and-report
  "Prints {:info map} or {:error message}."
  "(prn (try {:info (into {} (org.httpkit.jni.NativeLibrary/info))}
             (catch UnsatisfiedLinkError e {:error (.getMessage e)})))")

(defn- last-form [{:keys [exit out] :as result}]
  (if (zero? exit)
    (edn/read-string (last (str/split-lines out)))
    (throw (ex-info "The JVM failed" result))))

(defn- loading
  "What `load-and-report` says in a JVM with these system properties and options for `subprocess/start`."
  [properties & options]
  (last-form (apply subprocess/run load-and-report
                    :jvm-args (for [[k v] properties] (str "-D" k "=" v))
                    options)))

(defn- permissions [^File file]
  (PosixFilePermissions/toString
    (Files/getPosixFilePermissions (.toPath file) (make-array LinkOption 0))))

(defn- libraries [^File dir]
  (sort (map #(.getName ^File %) (.listFiles dir))))

(defn- library-resource []
  (let [index (doto (java.util.Properties.) (.load (io/input-stream (io/resource "native/httpkit.properties"))))
        entry (first (filter #(str/includes? % "/") (.stringPropertyNames index)))]
    {:url (io/resource (str "native/" entry)) :sha256 (.getProperty index entry)}))

(deftest unpacks-into-the-named-directory-under-a-name-with-the-hash
  (files/with-temporary-directory dir
    (let [cache          (io/file dir "cache")
          {:keys [info]} (loading {"http-kit.native.dir" cache})
          prefix         (subs (:sha256 (library-resource)) 0 32)]
      (is (= (str cache) (.getParent (io/file (info "file")))))
      (is (str/includes? (info "file") prefix))
      (is (= "rwx------" (permissions cache)))
      (is (= 1 (count (libraries cache))) "no temporary file is left"))))

(deftest a-second-start-reuses-the-file
  (files/with-temporary-directory dir
    (let [load-it  #(io/file (get-in (loading {"http-kit.native.dir" dir}) [:info "file"]))
          first-at (.lastModified ^File (doto ^File (load-it) (.setLastModified 1000000000000)))]
      (is (= 1000000000000 (.lastModified ^File (load-it))) first-at))))

(deftest a-corrupted-file-is-replaced
  (files/with-temporary-directory dir
    (let [load-it #(loading {"http-kit.native.dir" dir})
          file    (get-in (load-it) [:info "file"])]
      (spit file "not a library")
      (is (= file (get-in (load-it) [:info "file"])))
      (is (< 1000 (.length (io/file file)))))))

(deftest a-symlink-in-place-of-the-file-is-replaced
  (files/with-temporary-directory dir
    (let [load-it #(loading {"http-kit.native.dir" dir})
          file    (.toPath (io/file (get-in (load-it) [:info "file"])))
          other   (.resolve file "../elsewhere.so")]
      (Files/move file (.normalize other) (make-array java.nio.file.CopyOption 0))
      (Files/createSymbolicLink file (.normalize other) (make-array FileAttribute 0))
      (is (:info (load-it)))
      (is (not (Files/isSymbolicLink file))))))

(deftest processes-that-start-together-share-one-file
  (files/with-temporary-directory dir
    (let [start   #(subprocess/start load-and-report :jvm-args [(str "-Dhttp-kit.native.dir=" dir)])
          results (map (comp :info last-form subprocess/finish) (doall (repeatedly 4 start)))]
      (is (= 1 (count (set (map #(get % "file") results)))))
      (is (every? some? results))
      (is (= 1 (count (libraries dir)))))))

(deftest threads-that-load-together-load-once
  (files/with-temporary-directory dir
    (let [script "(let [go (promise)
                        calls (doall (repeatedly 8 #(future @go (org.httpkit.jni.NativeLibrary/info))))]
                    (deliver go true)
                    (prn (count (set (map (comp System/identityHashCode deref) calls))))
                    (shutdown-agents))"]
      (is (= 1 (last-form (subprocess/run script :jvm-args [(str "-Dhttp-kit.native.dir=" dir)]))))
      (is (= 1 (count (libraries dir)))))))

(deftest the-default-directory-is-the-users-cache-then-the-temporary-directory
  (files/with-temporary-directory dir
    (let [cache    (io/file dir "cache")
          tmp      (doto (io/file dir "tmp") (.mkdir))
          user     (Files/getAttribute (.toPath dir) "unix:uid" (make-array LinkOption 0))
          file     #(get-in (loading {"java.io.tmpdir" tmp} :env {"XDG_CACHE_HOME" (str cache)}) [:info "file"])]
      (is (= (str (io/file cache "http-kit")) (.getParent (io/file (file)))))
      (testing "a plain file in place of the directory cannot be written, even by root"
        (files/delete-tree cache)
        (spit cache "")
        (is (= (str (io/file tmp (str "http-kit-" user))) (.getParent (io/file (file)))))))))

(deftest a-directory-that-others-can-write-is-not-used-by-default
  (files/with-temporary-directory dir
    (let [cache (doto (io/file dir "http-kit") (.mkdir))
          tmp   (doto (io/file dir "tmp") (.mkdir))]
      (Files/setPosixFilePermissions (.toPath cache) (PosixFilePermissions/fromString "rwxrwxrwx"))
      (is (str/starts-with? (get-in (loading {"java.io.tmpdir" tmp} :env {"XDG_CACHE_HOME" (str dir)}) [:info "file"])
                            (str tmp)))
      (is (empty? (libraries cache))))))

(defn- loading-in-ascii
  "As `loading`, in a locale whose paths are ASCII only, with `cache` (\"\" for none) as the user's."
  [properties cache]
  (loading properties :env {"LC_ALL" "C", "XDG_CACHE_HOME" (str cache)}))

(deftest a-directory-that-the-locale-cannot-name-is-passed-over
  (files/with-temporary-directory dir
    (let [odd   (io/file dir "ü")
          cache (io/file dir "cache")
          tmp   (doto (io/file dir "tmp") (.mkdir))]
      (doseq [[case properties xdg expected]
              [["cache" {"java.io.tmpdir" tmp} odd tmp]
               ["home" {"java.io.tmpdir" tmp "user.home" odd} "" tmp]
               ["temporary directory" {"java.io.tmpdir" odd} cache cache]]]
        (testing case
          (let [{:keys [info]} (loading-in-ascii properties xdg)]
            (is (str/starts-with? (str (get info "file")) (str expected "/")))))))))

(deftest names-that-the-locale-cannot-express-are-explained
  (files/with-temporary-directory dir
    (let [odd (io/file dir "ü")]
      (doseq [[properties expected]
              [[{"http-kit.native.path" (io/file odd "mine.so")} ["http-kit.native.path names " "/mine.so"]]
               [{"http-kit.native.dir" odd} ["http-kit.native.dir=" "could not be loaded"]]
               [{"java.io.tmpdir" odd} ["/http-kit: " "/http-kit-*: " "could not be loaded"]]]]
        (let [{:keys [error]} (loading-in-ascii properties odd)]
          (doseq [part (concat expected [(str dir) "unmappable characters" "to override:"])]
            (is (str/includes? (str error) part) (str error))))))))

(deftest the-named-file-is-loaded-as-it-is
  (files/with-temporary-directory dir
    (let [file (io/file dir "mine.so")]
      (with-open [in (io/input-stream (:url (library-resource)))]
        (io/copy in file))
      (is (= (str file) (get-in (loading {"http-kit.native.path" file}) [:info "file"])))
      (is (= ["mine.so"] (libraries dir))))))

(deftest failures-say-what-was-looked-for-where-and-how-to-override
  (let [overrides ["-Dhttp-kit.native.path" "-Dhttp-kit.native.dir" "-Dhttp-kit.native.libc"]]
    (files/with-temporary-directory dir
      (spit (io/file dir "text.so") "not a library")
      (doseq [[case properties expected]
              [["architecture" {"os.arch" "riscv64"} ["linux-riscv64" "the class path holds: linux-"]]
               ["operating system" {"os.name" "SunOS"} ["sunos-"]]
               ["libc that is not in the jar" {"http-kit.native.libc" "musl"} ["linux-x86_64-musl" "libc musl"]]
               ["unknown libc" {"http-kit.native.libc" "bionic"} ["bionic" "glibc or musl"]]
               ["missing file" {"http-kit.native.path" (io/file dir "none.so")} ["none.so" "cannot be read"]]
               ["no library" {"http-kit.native.path" (io/file dir "text.so")} ["text.so" "could not be loaded"]]
               ["bad directory" {"http-kit.native.dir" (io/file dir "text.so")} ["text.so" "could not be loaded"]]]
              :when (or (not= case "libc that is not in the jar")
                        (nil? (io/resource "native/linux-x86_64-musl/libhttpkit.so")))]
        (let [{:keys [error]} (loading properties)]
          (doseq [part (concat expected overrides)]
            (is (str/includes? (str error) part) case)))))))

(deftest a-named-file-that-is-no-library-has-one-cause-and-is-not-copied
  (files/with-temporary-directory dir
    (let [file  (doto (io/file dir "text.so") (spit "not a library"))
          cache (io/file dir "cache")
          error (str (:error (loading {"http-kit.native.path" file "http-kit.native.dir" cache})))
          tried (second (re-find #"(?s)tried: (.*?)\n  the class path holds" error))]
      (is (str/starts-with? (str tried) (str file ": ")))
      (is (= 1 (count (str/split-lines (str tried)))) tried)
      (is (not (.exists cache))))))

(deftest a-named-file-that-is-another-library-is-said-so-and-does-not-change-later-names
  (files/with-temporary-directory dir
    (let [other  (str (io/file (System/getProperty "java.home") "lib" "libprefs.so"))
          script (str "(defn message [] (try (org.httpkit.jni.NativeLibrary/load) (catch UnsatisfiedLinkError e (.getMessage e))))
                       (def said [(message) (message)])
                       (System/clearProperty \"http-kit.native.path\")
                       (prn (conj said (get (org.httpkit.jni.NativeLibrary/info) \"file\")))")
          [once again file] (last-form (subprocess/run script :jvm-args [(str "-Dhttp-kit.native.path=" other)
                                                                         (str "-Dhttp-kit.native.dir=" dir)]))]
      (is (str/starts-with? once (str "http-kit: http-kit.native.path names " other ", which is another library.\n  looked for: ")))
      (is (= once again))
      (is (not (str/includes? file "-copy")) file))))

(deftest empty-properties-are-as-if-not-given
  (files/with-temporary-directory dir
    (let [where #(get-in (loading % :env {"XDG_CACHE_HOME" (str dir)}) [:info "file"])]
      (doseq [k ["path" "dir" "libc"]]
        (is (str/starts-with? (str (where {(str "http-kit.native." k) ""})) (str (io/file dir "http-kit"))) k)))))

(deftest clojure-prints-the-explanation-of-a-failure
  (files/with-temporary-directory dir
    (spit (io/file dir "text.so") "not a library")
    (let [{:keys [exit out]} (subprocess/run "(org.httpkit.jni.NativeLibrary/load)"
                                             :jvm-args [(str "-Dhttp-kit.native.path=" dir "/text.so")])]
      (is (= 1 exit))
      (is (str/includes? out "to override:")))))

(deftest a-jar-without-libraries-is-named-in-the-message
  (let [without (->> (str/split (System/getProperty "java.class.path") #":")
                     (remove #(or (str/ends-with? % "build/native") (re-find #"http-kit-[^/]*\.jar$" %)))
                     (str/join ":"))]
    (is (str/includes? (:error (loading {} :class-path without))
          (str "the class path holds: no native library (no /native/httpkit.properties): a checkout must be built"
            " (`gradle prep`), and a no-natives jar needs -Dhttp-kit.native.path\n")))))

(deftest denied-native-access-is-a-sentence
  (when (>= (.feature (Runtime/version)) 24)
    (let [{:keys [error]} (last-form (subprocess/run load-and-report :jvm-args ["--illegal-native-access=deny"]))]
      (is (str/includes? (str error) "--enable-native-access=ALL-UNNAMED"))
      (is (str/includes? (str error) "Enable-Native-Access: ALL-UNNAMED"))
      (is (= 1 (count (re-seq #"looked for:" (str error)))) "one message, not one within another"))))

(deftest a-failure-is-not-remembered
  (files/with-temporary-directory dir
    (let [script "(System/setProperty \"http-kit.native.path\" \"/does/not/exist.so\")
                  (def refused? (try (org.httpkit.jni.NativeLibrary/load) false (catch UnsatisfiedLinkError e true)))
                  (System/clearProperty \"http-kit.native.path\")
                  (prn [refused? (some? (org.httpkit.jni.NativeLibrary/info))])"]
      (is (= [true true]
             (last-form (subprocess/run script :jvm-args [(str "-Dhttp-kit.native.dir=" dir)])))))))

(deftest a-server-explains-every-failed-start-and-starts-once-the-cause-is-gone
  (let [script "(require 'org.httpkit.server)
                (defn start [] (try ((org.httpkit.server/run-server identity {:port 0 :ip \"127.0.0.1\"})) :started
                                    (catch Throwable e (str (.getMessage e)))))
                (System/setProperty \"http-kit.native.path\" \"/does/not/exist.so\")
                (def before [(start) (start)])
                (System/clearProperty \"http-kit.native.path\")
                (prn (conj before (start)))
                (shutdown-agents)"
        [first-try second-try third-try] (last-form (subprocess/run script))]
    (is (str/includes? first-try "/does/not/exist.so"))
    (is (= first-try second-try))
    (is (= :started third-try))))
