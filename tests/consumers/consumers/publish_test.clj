(ns consumers.publish-test
  "What `./dev publish-bundle` makes: its files, and the repository as build tools use it, by coordinates alone.

  System properties: `httpkit.version`, `httpkit.bundle` and `httpkit.bundle.again` (the bundle, and one that was made
  after it from the same inputs), `httpkit.repository` (the same as a Maven repository)."
  (:require [clojure.edn        :as edn]
            [clojure.java.io    :as io]
            [clojure.java.shell :refer [sh]]
            [clojure.set        :as set]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [clojure.tools.deps :as deps]
            [clojure.xml        :as xml]
            [httpkit.subprocess :as subprocess])
  (:import [java.io File]
           [java.nio.file Files]
           [java.nio.file.attribute FileAttribute]
           [java.security MessageDigest]
           [java.util.jar JarEntry JarFile]))

(def ^:private version (System/getProperty "httpkit.version"))
(def ^:private bundle (io/file (System/getProperty "httpkit.bundle")))
(def ^:private repository (str "file:" (System/getProperty "httpkit.repository")))
(def ^:private artifact (str "http-kit-" version))

(defn- file-named ^File [suffix]
  (io/file bundle (str artifact suffix)))

(defn- entries [^File jar]
  (with-open [file (JarFile. jar)]
    (set (map #(.getName ^JarEntry %) (enumeration-seq (.entries file))))))

(defn- text-in [^File jar ^String entry]
  (with-open [file (JarFile. jar)]
    (slurp (.getInputStream file (.getEntry file entry)))))

(defn- digest [algorithm ^File file]
  (str/join (map #(format "%02x" %)
                 (.digest (MessageDigest/getInstance algorithm) (Files/readAllBytes (.toPath file))))))

;; The files

(def ^:private checksums {"md5" "MD5", "sha1" "SHA-1", "sha256" "SHA-256", "sha512" "SHA-512"})

(defn- content-files []
  (remove #(re-find #"\.(md5|sha1|sha256|sha512|asc)$" (.getName ^File %)) (.listFiles ^File bundle)))

(deftest a-bundle-has-what-repositories-ask-for
  (is (set/subset? (set (map #(str artifact %) [".jar" ".pom" "-sources.jar" "-javadoc.jar" "-no-natives.jar"
                                                "-cyclonedx.json" "-third-party.txt"]))
                   (set (map #(.getName ^File %) (content-files)))))
  (doseq [^File file (content-files), [suffix algorithm] checksums]
    (is (= (digest algorithm file) (slurp (str file "." suffix))) (str file "." suffix))))

(deftest the-same-inputs-make-the-same-bytes
  (let [again (io/file (System/getProperty "httpkit.bundle.again"))]
    (is (= (set (map #(.getName ^File %) (.listFiles ^File bundle))) (set (map #(.getName ^File %) (.listFiles again)))))
    (doseq [^File file (content-files)]
      (is (= (digest "SHA-256" file) (digest "SHA-256" (io/file again (.getName file)))) (.getName file)))))

(defn- child [element tag]
  (first (filter #(= tag (:tag %)) (:content element))))

(defn- text-at [element & tags]
  (first (:content (reduce child element tags))))

(deftest the-pom-says-what-maven-central-demands
  (let [pom (xml/parse (file-named ".pom"))]
    (is (= ["http-kit" "http-kit" version] (map #(text-at pom %) [:groupId :artifactId :version])))
    (doseq [path [[:name] [:description] [:url] [:licenses :license :name] [:licenses :license :url]
                  [:developers :developer :name] [:scm :url] [:scm :connection]]]
      (is (not (str/blank? (apply text-at pom path))) path))
    (is (= [["org.clojure" "clojure"]]
           (map (juxt #(text-at % :groupId) #(text-at % :artifactId)) (:content (child pom :dependencies)))))
    (is (not (re-find #"@|file:|localhost" (slurp (file-named ".pom")))) "no placeholder, no path of a machine")))

(defn- libraries [jar]
  (set (keep #(second (re-find #"^native/([^/]+)/." %)) (entries jar))))

(defn- others [jar]
  (set (remove #(re-find #"^native/[^/]+/|/$" %) (entries jar))))

(deftest a-classifier-jar-is-the-jar-with-fewer-libraries
  (let [whole (file-named ".jar")]
    (doseq [[classifier wanted] {"linux" #"linux-.*" "linux-x86_64" #"linux-x86_64(-musl)?" "macos" #"macos-.*"
                                 "windows" #"windows-.*" "no-natives" #"(?!)"}
            :let [jar (file-named (str "-" classifier ".jar")), kept (filter #(re-matches wanted %) (libraries whole))]
            :when (.exists jar)]
      (testing classifier
        (is (= (set kept) (libraries jar)))
        (is (= (others whole) (others jar)))
        (is (= (set kept) (set (keep #(second (re-find #"^([^/]+)/.*=" %))
                                     (str/split-lines (text-in jar "native/httpkit.properties"))))))))
    (is (.exists (file-named (if (.startsWith (System/getProperty "os.name") "Linux") "-linux.jar" "-no-natives.jar"))))))

(deftest sources-and-documentation-are-of-all-languages
  (is (set/subset? #{"org/httpkit/server.clj" "org/httpkit/server/AsyncChannel.java" "rust/Cargo.lock"
                     "rust/rust/core/src/lib.rs" "rust/rust/jni/src/lib.rs" "META-INF/LICENSE"}
                   (entries (file-named "-sources.jar"))))
  (let [jar (file-named "-javadoc.jar")]
    (is (contains? (entries jar) "org/httpkit/server/HttpServer.html"))
    (is (not-any? #(str/starts-with? % "org/httpkit/jni/") (entries jar)) "not API")
    (is (str/includes? (text-in jar "clojure/org.httpkit.server.html") "<h2 id=\"run-server\">"))
    (is (str/includes? (text-in jar "index.html") "clojure/org.httpkit.server.html"))))

(deftest the-bill-of-materials-names-each-crate-and-library
  (let [bill (slurp (file-named "-cyclonedx.json"))]
    (is (str/includes? bill "\"specVersion\": \"1.5\""))
    (doseq [[_ crate release] (re-seq #"(?m)^([a-z0-9_-]+) (\d[^ :]*): " (slurp (file-named "-third-party.txt")))]
      (is (str/includes? bill (str "\"pkg:cargo/" crate "@" release "\"")) crate))
    (doseq [[_ library sum] (re-seq #"(?m)^([^=]+/[^=]+)=(.*)$" (text-in (file-named ".jar") "native/httpkit.properties"))]
      (is (str/includes? bill (str "native/" library)))
      (is (str/includes? bill sum)))))

;; The repository

(def ^:private hello (slurp "tests/consumers/hello.clj"))

(defn- says-hello [class-path]
  (let [{:keys [exit out]} (subprocess/run (str "(require 'stand-in.core) " hello) :class-path (str/join ":" class-path))]
    (is (zero? exit) out)
    (is (= "hello /world" (:body (edn/read-string (last (str/split-lines out))))) out)
    (is (= [(str artifact ".jar")] (filter #(re-find #"^http-kit-" %) (map #(.getName (io/file %)) class-path)))
        "one http-kit: ours")))

(defn- with-dir [f]
  (let [dir (.toFile (Files/createTempDirectory "consumers-publish" (make-array FileAttribute 0)))]
    (try
      (f dir)
      (finally (run! #(.delete ^File %) (reverse (file-seq dir)))))))

(defn- pom [coordinates & more]
  (let [[group artifact version] coordinates]
    (str "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>" group
         "</groupId><artifactId>" artifact "</artifactId><version>" version "</version>" (str/join (flatten more)) "</project>")))

(defn- dependency [[group artifact version]]
  (str "<dependency><groupId>" group "</groupId><artifactId>" artifact "</artifactId><version>" version
       "</version></dependency>"))

(defn- deploy
  "Puts a library into a repository: a jar of the directory `content`, and a pom."
  [repository [group artifact version :as coordinates] content & pom-content]
  (let [home (io/file repository group artifact version)
        base (str artifact "-" version)]
    (.mkdirs home)
    (is (zero? (:exit (sh (str (io/file (System/getProperty "java.home") "bin" "jar")) "cf"
                          (str (io/file home (str base ".jar"))) "-C" (str content) "."))))
    (spit (io/file home (str base ".pom")) (pom coordinates pom-content))
    (doseq [file (vec (.listFiles ^File home))]
      (spit (str file ".sha1") (digest "SHA-1" file)))))

(defn- stand-in
  "A repository with a library that depends on http-kit 2.8.0, and something that goes by that name."
  [dir]
  (let [repository (io/file dir "repo")
        sources    (io/file dir "stand-in")
        http-kit   ["http-kit" "http-kit" "2.8.0"]]
    (.mkdirs (io/file sources "stand_in"))
    (spit (io/file sources "stand_in/core.clj") "(ns stand-in.core (:require [org.httpkit.server :as server]))")
    (deploy repository ["stand-in" "stand-in" "1.0"] sources "<dependencies>" (dependency http-kit) "</dependencies>")
    (deploy repository http-kit sources)
    (str "file:" repository)))

(defn- local-repository
  "Of a tool, between runs: it may keep what it fetched, but not of these versions, which are made anew."
  [tool]
  (let [dir (.getAbsoluteFile (io/file "build" "tmp" "consumers" tool))]
    (doseq [artifact ["http-kit" "stand-in"]]
      (run! #(.delete ^File %) (reverse (file-seq (io/file dir artifact)))))
    (str dir)))

(deftest tools-deps-resolves-it-by-coordinates
  (with-dir
    (fn [dir]
      (let [{:keys [classpath-roots]}
            (deps/create-basis
              {:user    nil
               :project {:deps            {'org.clojure/clojure {:mvn/version "1.12.4"}
                                           'stand-in/stand-in   {:mvn/version "1.0"}
                                           'http-kit/http-kit   {:mvn/version version}}
                         :mvn/repos       {"here" {:url repository}, "stand-in" {:url (stand-in dir)}, "clojars" nil}
                         :mvn/local-repo  (local-repository "tools.deps")}})]
        (says-hello classpath-roots)))))

(defn- tool
  "Runs a build tool in `dir`. Returns the lines that it prints."
  [dir & command]
  (let [env                    (dissoc (into {} (System/getenv)) "CLASSPATH")
        {:keys [exit out err]} (apply sh (concat command [:dir dir :env env]))]
    (is (zero? exit) (str (str/join " " command) "\n" out err))
    (str/split-lines out)))

(defn- class-path-in [lines]
  (str/split (last (filter #(str/includes? % artifact) lines)) #":"))

(deftest leiningen-resolves-it-by-coordinates
  (with-dir
    (fn [dir]
      (spit (io/file dir "project.clj")
            (pr-str (list 'defproject 'scratch "1"
                          :local-repo (local-repository "leiningen")
                          :repositories [["here" repository] ["stand-in" (stand-in dir)]]
                          :dependencies [['org.clojure/clojure "1.10.3"] ['stand-in "1.0"] ['http-kit version]])))
      (says-hello (class-path-in (tool dir "lein" "with-profile" "-base,-dev,-user" "classpath"))))))

(deftest maven-resolves-it-by-coordinates
  (with-dir
    (fn [dir]
      (spit (io/file dir "pom.xml")
            (pom ["scratch" "scratch" "1"]
                 "<repositories>"
                 (for [[id url] {"here" repository "stand-in" (stand-in dir)}]
                   (str "<repository><id>" id "</id><url>" url "</url></repository>"))
                 "</repositories><dependencies>"
                 (map dependency [["org.clojure" "clojure" "1.10.3"] ["stand-in" "stand-in" "1.0"]
                                  ["http-kit" "http-kit" version]])
                 "</dependencies>"))
      (tool dir "mvn" "-q" "-B" (str "-Dmaven.repo.local=" (local-repository "maven"))
            "dependency:build-classpath" "-Dmdep.outputFile=class-path")
      (says-hello (class-path-in [(slurp (io/file dir "class-path"))])))))

(deftest gradle-resolves-it-by-coordinates
  (with-dir
    (fn [dir]
      (spit (io/file dir "settings.gradle") "rootProject.name = 'scratch'\n")
      (spit (io/file dir "build.gradle")
            (str "plugins { id 'java' }\n"
                 "repositories { maven { url '" repository "' }\n maven { url '" (stand-in dir) "' }\n mavenCentral() }\n"
                 "dependencies { compile 'org.clojure:clojure:1.10.3'\n compile 'stand-in:stand-in:1.0'\n compile 'http-kit:http-kit:"
                 version "' }\n"
                 "task classPath { doLast { println sourceSets.main.runtimeClasspath.asPath } }\n"))
      (says-hello (class-path-in (tool dir "gradle" "--no-daemon" "-q" "-g" (str (io/file dir "gradle")) "classPath"))))))

(deftest without-libraries-it-runs-with-one-that-is-named
  (with-dir
    (fn [dir]
      (let [library (io/file dir "libhttpkit.so")
            jars    (filter #(re-find #"/(clojure|spec\.alpha|core\.specs\.alpha)-[^/]*\.jar$" %)
                            (str/split (System/getProperty "java.class.path") #":"))
            run     (fn [& jvm-args]
                      (subprocess/run hello :class-path (str/join ":" (cons (file-named "-no-natives.jar") jars))
                                      :jvm-args jvm-args))]
        (with-open [jar (JarFile. (file-named ".jar"))]
          (io/copy (.getInputStream jar (.getEntry jar (first (filter #(re-find #"^native/linux-.*[^/]$" %)
                                                                      (entries (file-named ".jar"))))))
                   library))
        (is (str/includes? (:out (run)) "there is no native library for this platform"))
        (is (str/includes? (:out (run (str "-Dhttp-kit.native.path=" library))) "hello /world"))))))
